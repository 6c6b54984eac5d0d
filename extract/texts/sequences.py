"""Builds the token sequences that both models read: rendered prompts with answers, and which positions are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from extract.texts.alignment import aligned_positions, next_tokens
from extract.texts.answers import Answer, answer_start
from extract.texts.rendering import RenderedPrompt, Rendering, SideText, writes_bos
from extract.texts.tokens import Codec, Encoded, adds_bos
from fi_store.ids import content_id
from fi_store.prompts import PromptRecord
from fi_store.vocabulary import SIDES, Author, PositionClass, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader

FIRST_CLASSES: frozenset[PositionClass] = frozenset({"prompt", "start", "thinking", "response"})
OTHER_CLASSES: frozenset[PositionClass] = frozenset({"thinking", "response"})
CONTROL_CLASSES: frozenset[PositionClass] = frozenset({"prompt", "start"})
"""The position classes kept from the canonical first's answer, from the other's answer, and from a control text."""


NO_ANSWER = Answer("", 0, True)


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

    `alike` means that both give the same ids for the run's texts, and `shared` that both models also read them in the
    same format, so that one encoding serves both.
    """

    codecs: dict[Side, Codec]
    alike: bool
    shared: bool

    @property
    def base(self) -> Any:
        return self.codecs["base"].tokenizer

    @property
    def target(self) -> Any:
        return self.codecs["target"].tokenizer

    def encode(
        self, side: Side, prompt: RenderedPrompt, answer: str, written: Sequence[int] | None = None
    ) -> Encoded:
        """The prompt and the answer as one model's tokens: those that were `written`, if they are known."""
        return self.codecs[side].encode(prompt.sides[side], answer, written)

    def drifts(self, author: Side, prompt: RenderedPrompt, answer: Answer) -> bool:
        """Whether the other model reads an answer in tokens of its own, unlike those in which it was written.

        Its text, tokenized again by its author's tokenizer, would not give the tokens that the author wrote.
        """
        if self.alike or answer.ids is None:
            return False
        again = self.encode(author, prompt, answer.text)
        return tuple(again.ids[again.n_prompt :]) != answer.ids

    def warnings(self, prompts: Sequence[PromptRecord]) -> list[str]:
        """What is said about prompts that hold special tokens."""
        found: dict[str, list[str]] = {}
        for prompt in prompts:
            text = f"{prompt.text}\0{prompt.control or ''}"
            tokens = {token for codec in self.codecs.values() for token in codec.controls_in(text)}
            for token in sorted(tokens):
                found.setdefault(token, []).append(prompt.key)
        return [
            f"{token} in a prompt is read as plain text, not as a special token: {', '.join(keys[:3])}"
            + (f" and {len(keys) - 3} more." if len(keys) > 3 else ".")
            for token, keys in found.items()
        ]


def make_tokenizers(pair: LoadedPair, rendering: Rendering, texts: Sequence[str]) -> Tokenizers:
    """Compares both tokenizers on the run's texts.

    A model reads its own beginning-of-text token, once, if its tokenizer adds one or the template writes one: its own
    template, or the one that it is read in if it has none.

    Raises:
        ExtractionError: a tokenizer does not report which characters a token covers.
    """
    readers: dict[Side, Reader] = {"base": pair.base, "target": pair.target}
    codecs = {
        side: Codec(
            reader.tokenizer,
            rendering.formats[side],
            reader.reference.text,
            bos=adds_bos(reader.tokenizer)
            or (writes_bos(reader) if reader.chat_template else rendering.formats[side].bos),
        )
        for side, reader in readers.items()
    }
    base, target = codecs["base"], codecs["target"]
    alike = base.tokenizer is target.tokenizer or (
        base.tokenizer.get_vocab() == target.tokenizer.get_vocab()
        and all(base.ids_of(text) == target.ids_of(text) for text in texts)
    )
    shared = alike and base.format.read == target.format.read and base.first == target.first
    return Tokenizers(codecs, alike, shared)


def build_sequence(
    run_id: str,
    prompt: PromptRecord,
    rendered: RenderedPrompt,
    author: Author,
    answer: Answer,
    classes: frozenset[PositionClass],
    tokenizers: Tokenizers,
) -> ReadSequence:
    """One sequence that keeps the positions whose class is in `classes`."""
    written = {side: answer.ids if tokenizers.alike or side == author else None for side in SIDES}
    base = tokenizers.encode("base", rendered, answer.text, written["base"])
    target = (
        base if tokenizers.shared else tokenizers.encode("target", rendered, answer.text, written["target"])
    )
    thought = 0
    if author != "control":
        start = answer_start(answer.text, tokenizers.codecs[author].format)
        thought = len(answer.text) if start is None else start
    positions = [
        position
        for position in aligned_positions(base, target, rendered, thought)
        if position.position_class in classes
    ]
    following = [next_tokens(base, target, position, rendered) for position in positions]
    return ReadSequence(
        id=content_id("sequence", run_id, prompt.id, author),
        prompt_id=prompt.id,
        author=author,
        base=OneSide(
            base.ids,
            [position.base for position in positions],
            [next_base for next_base, _ in following],
            base.n_prompt,
            _answer_ends(base, rendered.base),
        ),
        target=OneSide(
            target.ids,
            [position.target for position in positions],
            [next_target for _, next_target in following],
            target.n_prompt,
            _answer_ends(target, rendered.target),
        ),
        classes=[position.position_class for position in positions],
        answer_length=len(answer.text),
    )


def _answer_ends(encoded: Encoded, rendered: SideText) -> list[int]:
    """The character of the answer before which each of its tokens ends."""
    return [end - len(rendered.text) for end in encoded.ends[encoded.n_prompt :]]


def build_sequences(
    run_id: str,
    prompts: Sequence[PromptRecord],
    answers: Mapping[tuple[str, Side], Answer],
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
                build_sequence(run_id, prompt, control, "control", NO_ANSWER, CONTROL_CLASSES, tokenizers)
            )
    return sequences
