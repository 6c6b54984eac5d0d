"""Builds the token sequences that both models read: rendered prompts with answers, and which positions are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from extract.texts.alignment import Encoded, aligned_positions, next_tokens
from extract.texts.templates import RenderedPrompt, Rendering
from fi_store.errors import ExtractionError
from fi_store.ids import content_id
from fi_store.prompts import PromptRecord
from fi_store.vocabulary import Author, PositionClass, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader

FIRST_CLASSES: frozenset[PositionClass] = frozenset({"prompt", "start", "response"})
OTHER_CLASSES: frozenset[PositionClass] = frozenset({"response"})
CONTROL_CLASSES: frozenset[PositionClass] = frozenset({"prompt", "start"})
"""The position classes kept from the canonical first's answer, from the other's answer, and from a control text."""


class OneSide(NamedTuple):
    """A sequence in one model's tokens. The first `n_prompt` tokens are the rendered prompt.

    `kept` holds the token index of each kept position, `next_ids` the token after it (None at the end, or if the two
    tokenizers continue differently). `answer_ends` are the characters of the answer before which its tokens end.
    """

    ids: list[int]
    kept: list[int]
    next_ids: list[int | None]
    n_prompt: int
    answer_ends: list[int]


@dataclass(frozen=True)
class ReadSequence:
    """One text that both models read, with the kept positions in both tokenizations (the same number in each).

    `answer_length` is the number of characters of the answer.
    """

    id: str
    prompt_id: str
    author: Author
    base: OneSide
    target: OneSide
    classes: list[PositionClass]
    answer_length: int

    @property
    def sides(self) -> dict[Side, OneSide]:
        """The sequence in each model's tokens."""
        return {"base": self.base, "target": self.target}


@dataclass(frozen=True)
class Tokenizers:
    """Both models' tokenizers, and what a run decides about them once.

    `shared` means that both give the same ids for the run's texts, so one encoding serves both. `add_first` holds the
    tokens that are put before every text.
    """

    base: Any
    target: Any
    shared: bool
    add_first: dict[Side, list[int]]

    def encode(self, side: Side, prompt: RenderedPrompt, answer: str) -> Encoded:
        """The prompt and the answer as tokens.

        The prompt has the same tokens as when the answer was generated. If the end of the prompt and the beginning of
        the answer would merge into one token, the answer is encoded separately.
        """
        tokenizer = self.base if side == "base" else self.target
        first = self.add_first[side]
        ids, starts, ends = _tokens(tokenizer, prompt.text)
        n_prompt = len(ids)
        if answer:
            whole = _tokens(tokenizer, prompt.text + answer)
            if whole[0][:n_prompt] == ids:
                ids, starts, ends = whole
            else:
                tail, tail_starts, tail_ends = _tokens(tokenizer, answer)
                shift = len(prompt.text)
                ids, starts, ends = (
                    ids + tail,
                    starts + [start + shift for start in tail_starts],
                    ends + [end + shift for end in tail_ends],
                )
        zeros = [0] * len(first)
        return Encoded(first + ids, zeros + starts, zeros + ends, n_prompt + len(first))


def make_tokenizers(pair: LoadedPair, rendering: Rendering, texts: Sequence[str]) -> Tokenizers:
    """Compares both tokenizers on the run's texts.

    Raises:
        ExtractionError: a tokenizer does not report which characters a token covers.
    """
    readers: tuple[tuple[Side, Reader], ...] = (("base", pair.base), ("target", pair.target))
    add_first: dict[Side, list[int]] = {}
    for side, reader in readers:
        if not getattr(reader.tokenizer, "is_fast", False):
            raise ExtractionError(
                f"The tokenizer of {reader.reference.text} does not report character offsets.",
                hint="use a model that has a tokenizer.json",
            )
        # A chat template writes its own first token. The plain format leaves it to the tokenizer.
        add_first[side] = _first_token(reader.tokenizer) if rendering.source == "none" else []
    base, target = pair.base.tokenizer, pair.target.tokenizer
    shared = base is target or (
        base.get_vocab() == target.get_vocab()
        and add_first["base"] == add_first["target"]
        and all(
            _tokens(base, text)[0] == _tokens(target, text)[0]
            for text in (rendering.render(plain).text for plain in texts)
        )
    )
    return Tokenizers(base, target, shared, add_first)


def _tokens(tokenizer: Any, text: str) -> tuple[list[int], list[int], list[int]]:
    """Token ids, and the first and the end character of each token."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    return list(encoded["input_ids"]), [int(span[0]) for span in offsets], [int(span[1]) for span in offsets]


def _first_token(tokenizer: Any) -> list[int]:
    """The beginning-of-text token, if this tokenizer adds one."""
    ids = list(tokenizer("a")["input_ids"])
    return ids[:1] if len(ids) > 1 and ids[0] == tokenizer.bos_token_id else []


def build_sequence(
    run_id: str,
    prompt: PromptRecord,
    rendered: RenderedPrompt,
    author: Author,
    answer: str,
    classes: frozenset[PositionClass],
    tokenizers: Tokenizers,
) -> ReadSequence:
    """One sequence that keeps the positions whose class is in `classes`."""
    base = tokenizers.encode("base", rendered, answer)
    target = base if tokenizers.shared else tokenizers.encode("target", rendered, answer)
    positions = [
        position
        for position in aligned_positions(base, target, rendered)
        if position.position_class in classes
    ]
    following = [next_tokens(base, target, position) for position in positions]
    return ReadSequence(
        id=content_id("sequence", run_id, prompt.id, author),
        prompt_id=prompt.id,
        author=author,
        base=OneSide(
            base.ids,
            [position.base for position in positions],
            [next_base for next_base, _ in following],
            base.n_prompt,
            _answer_ends(base, rendered),
        ),
        target=OneSide(
            target.ids,
            [position.target for position in positions],
            [next_target for _, next_target in following],
            target.n_prompt,
            _answer_ends(target, rendered),
        ),
        classes=[position.position_class for position in positions],
        answer_length=len(answer),
    )


def _answer_ends(encoded: Encoded, rendered: RenderedPrompt) -> list[int]:
    """The character of the answer before which each of its tokens ends."""
    return [end - len(rendered.text) for end in encoded.ends[encoded.n_prompt :]]


def build_sequences(
    run_id: str,
    prompts: Sequence[PromptRecord],
    answers: dict[tuple[str, Side], str],
    rendering: Rendering,
    tokenizers: Tokenizers,
    first: Side,
) -> list[ReadSequence]:
    """The sequences of some prompts in canonical order: the canonical first's answer, the other's, the control text.

    Prompt and start positions are kept only from the first sequence, because both answers share them. Control texts
    have no answer. The same inputs give the same sequences, so a resumed run reads the same texts.
    """
    other: Side = "target" if first == "base" else "base"
    sequences: list[ReadSequence] = []
    for prompt in prompts:
        rendered = rendering.render(prompt.text)
        for author, classes in ((first, FIRST_CLASSES), (other, OTHER_CLASSES)):
            answer = answers[prompt.id, author]
            sequences.append(build_sequence(run_id, prompt, rendered, author, answer, classes, tokenizers))
        if prompt.control:
            control = rendering.render(prompt.control)
            sequences.append(
                build_sequence(run_id, prompt, control, "control", "", CONTROL_CLASSES, tokenizers)
            )
    return sequences
