"""Refuses, before any pass, texts that a model cannot read: unknown token ids, or more tokens than positions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from extract.reading import reader_of
from extract.texts import Rendering, Tokenizers
from fi_store.errors import ExtractionError
from fi_store.prompts import PromptSuite
from fi_store.vocabulary import SIDES, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader


class PromptTokens(NamedTuple):
    """A rendered prompt, or its control text, in both models' tokens. `n_content` counts those of the base that are not
    the template's."""

    key: str
    control: bool
    ids: dict[Side, list[int]]
    n_content: int

    @property
    def name(self) -> str:
        return f"The control of {self.key}" if self.control else f"The prompt {self.key}"


def prompt_tokens(suite: PromptSuite, rendering: Rendering, tokenizers: Tokenizers) -> list[PromptTokens]:
    """Every text of a run that exists before the models answer."""
    found = []
    frame = len(tokenizers.encode("base", rendering.render(""), "").ids)
    for prompt in suite.prompts:
        for control, text in ((False, prompt.text), (True, prompt.control)):
            if text:
                rendered = rendering.render(text)
                base = tokenizers.encode("base", rendered, "").ids
                target = base if tokenizers.shared else tokenizers.encode("target", rendered, "").ids
                ids: dict[Side, list[int]] = {"base": base, "target": target}
                found.append(PromptTokens(prompt.key, control, ids, len(base) - frame))
    return found


def check_limits(pair: LoadedPair, texts: Sequence[PromptTokens], max_new_tokens: int) -> None:
    """Checks every prompt, and how long it may become with an answer, against both models.

    Raises:
        ExtractionError: a model has no embedding for a token, or too few positions. It names the first such prompt.
    """
    for side in SIDES:
        reader = reader_of(pair, side)
        _check_ids(reader, side, texts)
        positions = max_positions(reader.plain.config)
        if positions is not None:
            _check_lengths(reader, side, texts, max_new_tokens, positions)


def check_shared_ids(pair: LoadedPair) -> None:
    """Checks that a model can read every token of a shared tokenizer that the other one can write.

    Raises:
        ExtractionError: one of them has fewer embeddings. It names the first token that only the other can write.
    """
    rows = {
        side: min(len(reader_of(pair, side).embedding), reader_of(pair, side).vocab_size) for side in SIDES
    }
    least, most = min(rows.values()), max(rows.values())
    written = [number for number in pair.base.tokenizer.get_vocab().values() if least <= number < most]
    if written:
        fewer = reader_of(pair, "base" if rows["base"] == least else "target")
        token = pair.base.tokenizer.convert_ids_to_tokens(min(written))
        raise ExtractionError(
            f"{fewer.reference.text} has {least:,} embeddings, and the other model can write {token!r} "
            f"({min(written)}), for which it has none.",
            hint="resize its embeddings to those of the other model, and save it",
        )


def _check_ids(reader: Reader, side: Side, texts: Sequence[PromptTokens]) -> None:
    rows = min(len(reader.embedding), reader.vocab_size)
    for text in texts:
        unknown = next((token for token in text.ids[side] if token >= rows), None)
        if unknown is not None:
            written = reader.tokenizer.convert_ids_to_tokens(unknown)
            raise ExtractionError(
                f"{text.name} holds the token {written!r} ({unknown}), for which {reader.reference.text} has "
                f"no embedding: it has {rows:,} rows.",
                hint="use the tokenizer that the model was trained with, or resize the embeddings and save the model",
            )


def _check_lengths(
    reader: Reader, side: Side, texts: Sequence[PromptTokens], max_new_tokens: int, positions: int
) -> None:
    growth = answer_growth(texts, side)
    answer = math.ceil(max_new_tokens * growth)
    for text in texts:
        prompt, new = len(text.ids[side]), 0 if text.control else answer
        if prompt + new > positions:
            room = int((positions - prompt) / growth)
            shorter = (
                f"--max-new-tokens {room}, or a shorter prompt" if new and room >= 2 else "shorten the prompt"
            )
            raise ExtractionError(
                f"{text.name} has {prompt:,} tokens{f' and its answers up to {new:,}' if new else ''}, and "
                f"{reader.reference.text} has only {positions:,} positions.",
                hint=shorter,
            )


def answer_growth(texts: Sequence[PromptTokens], side: Side) -> float:
    """How many of one model's tokens it takes to read a token of either model's answer, judged by the prompts."""
    other: Side = "target" if side == "base" else "base"
    own, others = (sum(len(text.ids[each]) for text in texts) for each in (side, other))
    return max(1.0, own / others)


def max_positions(config: Any) -> int | None:
    """How many positions a model was made for; None if its configuration sets no limit."""
    text = config.get_text_config()
    limit = getattr(text, "max_position_embeddings", None)
    if limit is None or getattr(text, "alibi", False):
        return None
    scaled = [
        entry["original_max_position_embeddings"] * entry["factor"]
        for entry in _rope_entries(getattr(text, "rope_parameters", None))
        # Llama 3's scaling says by how much wavelengths grow, not texts.
        if entry.get("rope_type") != "llama3"
        and entry.get("factor")
        and entry.get("original_max_position_embeddings")
    ]
    return int(max([limit, *scaled]))


def _rope_entries(parameters: Any) -> Iterator[dict[str, Any]]:
    """The settings of rotary positions: one group, or one for each kind of layer."""
    if isinstance(parameters, dict):
        yield parameters
        yield from (entry for entry in parameters.values() if isinstance(entry, dict))
