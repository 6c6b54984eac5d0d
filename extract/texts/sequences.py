"""From rendered prompts and answers to the token sequences that both models read, and the positions that are kept.

A position is kept when it is user text (`prompt`), the last template token before the answer (`start`) or answer
(`response`), and when both tokenizers have a token boundary right after it. All other template tokens and the first
token are dropped here and nowhere later: they carry large constant differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from extract.texts.templates import RenderedPrompt, Rendering
from fi_store.errors import ExtractionError
from fi_store.ids import content_id
from fi_store.prompts import PromptRecord
from fi_store.vocabulary import Author, PositionClass, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader


class Encoded(NamedTuple):
    """Token ids with their character spans; the first `n_prompt` tokens are the rendered prompt."""

    ids: list[int]
    starts: list[int]
    ends: list[int]
    n_prompt: int


class OneSide(NamedTuple):
    """A sequence in one model's tokens: `kept` are token indices, one for each kept position; `next_ids` the token
    that follows each (None at the end, or where the two tokenizers go on differently); the first `n_prompt` tokens are
    the rendered prompt."""

    ids: list[int]
    kept: list[int]
    next_ids: list[int | None]
    n_prompt: int


@dataclass(frozen=True)
class ReadSequence:
    """One text that both models read, with the kept positions in both tokenizations (equally many)."""

    id: str
    prompt_id: str
    author: Author
    base: OneSide
    target: OneSide
    classes: list[PositionClass]

    def side(self, name: Side) -> OneSide:
        return self.base if name == "base" else self.target


@dataclass(frozen=True)
class Tokenizers:
    """Both models' tokenizers with what a run decides about them once.

    `shared`: they give the same ids for the run's texts, so that one encoding serves both.
    """

    base: Any
    target: Any
    shared: bool
    add_first: dict[Side, list[int]]

    def encode(self, side: Side, prompt: RenderedPrompt, answer: str) -> Encoded:
        """The prompt and the answer as tokens. The prompt's tokens are those it has on its own, as when the answer
        was generated; if the text around the seam would merge into one token, the answer is encoded by itself."""
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
                    starts + [at + shift for at in tail_starts],
                    ends + [at + shift for at in tail_ends],
                )
        zeros = [0] * len(first)
        return Encoded(first + ids, zeros + starts, zeros + ends, n_prompt + len(first))


def make_tokenizers(pair: LoadedPair, rendering: Rendering, texts: Sequence[str]) -> Tokenizers:
    """Compares both tokenizers on the run's texts.

    Raises:
        ExtractionError: a tokenizer cannot tell which characters a token covers.
    """
    readers: tuple[tuple[Side, Reader], ...] = (("base", pair.base), ("target", pair.target))
    add_first: dict[Side, list[int]] = {}
    for side, reader in readers:
        if not getattr(reader.tokenizer, "is_fast", False):
            raise ExtractionError(
                f"The tokenizer of {reader.reference.text} gives no character offsets.",
                hint="use a model with a tokenizer.json",
            )
        # A chat template writes its own first token; the plain form leaves it to the tokenizer.
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
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    return list(encoded["input_ids"]), [int(span[0]) for span in offsets], [int(span[1]) for span in offsets]


def _first_token(tokenizer: Any) -> list[int]:
    """The beginning-of-text token, if this tokenizer puts one before a text."""
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
    """One sequence with those kept positions whose class is in `classes`."""
    base = tokenizers.encode("base", rendered, answer)
    target = base if tokenizers.shared else tokenizers.encode("target", rendered, answer)
    rows = [row for row in aligned_positions(base, target, rendered) if row[2] in classes]
    following = [_following(base, target, left, right) for left, right, _ in rows]
    return ReadSequence(
        id=content_id("sequence", run_id, prompt.id, author),
        prompt_id=prompt.id,
        author=author,
        base=OneSide(base.ids, [row[0] for row in rows], [pair[0] for pair in following], base.n_prompt),
        target=OneSide(
            target.ids, [row[1] for row in rows], [pair[1] for pair in following], target.n_prompt
        ),
        classes=[row[2] for row in rows],
    )


def aligned_positions(
    base: Encoded, target: Encoded, prompt: RenderedPrompt
) -> list[tuple[int, int, PositionClass]]:
    """(token index in base, token index in target, class) of every position that both tokenizations share.

    A position is shared when a token ends at the same character in both and the next one begins there or later (a
    character may be split over several tokens). The last prompt token is `start` on both sides by definition.
    """
    by_end = {(end, name): index for index, end, name in _classified(target, prompt)}
    return [
        (index, by_end[end, name], name)
        for index, end, name in _classified(base, prompt)
        if (end, name) in by_end
    ]


def _classified(encoded: Encoded, prompt: RenderedPrompt) -> list[tuple[int, int, PositionClass]]:
    """(token index, end character, class) of the tokens of one side that may be kept, in order."""
    found: list[tuple[int, int, PositionClass]] = []
    count = len(encoded.ids)
    for index in range(1, count):
        end = encoded.ends[index]
        whole = index + 1 == count or index + 1 == encoded.n_prompt or encoded.starts[index + 1] >= end
        if index == encoded.n_prompt - 1:
            found.append((index, len(prompt.text), "start"))
        elif not whole:
            continue
        elif index >= encoded.n_prompt:
            found.append((index, end, "response"))
        elif prompt.content_start < end <= prompt.content_end:
            found.append((index, end, "prompt"))
    return found


def _following(base: Encoded, target: Encoded, left: int, right: int) -> tuple[int | None, int | None]:
    """The next token on both sides if both go on to the same character, else none for the target."""
    next_base = base.ids[left + 1] if left + 1 < len(base.ids) else None
    next_target = target.ids[right + 1] if right + 1 < len(target.ids) else None
    if next_base is None or next_target is None:
        return next_base, None
    same = base.ends[left + 1] == target.ends[right + 1]
    return next_base, next_target if same else None


FIRST_CLASSES: frozenset[PositionClass] = frozenset({"prompt", "start", "response"})
OTHER_CLASSES: frozenset[PositionClass] = frozenset({"response"})
CONTROL_CLASSES: frozenset[PositionClass] = frozenset({"prompt", "start"})


def without_controls(sequences: Sequence[ReadSequence]) -> list[ReadSequence]:
    """Prompts with answers alone, in their order."""
    return [sequence for sequence in sequences if sequence.author != "control"]


def build_sequences(
    run_id: str,
    prompts: Sequence[PromptRecord],
    answers: dict[tuple[str, Side], str],
    rendering: Rendering,
    tokenizers: Tokenizers,
    first: Side,
) -> list[ReadSequence]:
    """The sequences of some prompts in canonical order: the canonical first's answer, the other's, the control text.

    Prompt and start positions are kept from the first only (both sequences share them); control texts have no
    answer. The same inputs give the same sequences, so that a resumed run and a sham read what was read before.
    """
    other: Side = "target" if first == "base" else "base"
    sequences: list[ReadSequence] = []
    for prompt in prompts:
        rendered = rendering.render(prompt.text)
        for author, kept in ((first, FIRST_CLASSES), (other, OTHER_CLASSES)):
            answer = answers[prompt.id, author]
            sequences.append(build_sequence(run_id, prompt, rendered, author, answer, kept, tokenizers))
        if prompt.control:
            control = rendering.render(prompt.control)
            sequences.append(
                build_sequence(run_id, prompt, control, "control", "", CONTROL_CLASSES, tokenizers)
            )
    return sequences
