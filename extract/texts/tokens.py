"""Turns rendered prompts and answers into one model's tokens.

Special tokens are tokens only where the template writes them. In a user's text, and in another model's answer, they
are plain pieces: nobody there meant to end a turn. A model's own answer has the tokens that it wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

from tokenizers import AddedToken, Tokenizer

from extract.texts.answers import answer_of, answer_start, character_spans
from extract.texts.rendering import SideText
from extract.texts.templates import Format
from fi_store.errors import ExtractionError

BEFORE = "\U000f0000"
"""A token that stands before a section in the middle of a text, which tokenizers may treat unlike a beginning."""


class Encoded(NamedTuple):
    """Token ids with their character spans. The first `n_prompt` tokens are the rendered prompt."""

    ids: list[int]
    starts: list[int]
    ends: list[int]
    n_prompt: int


class _Span(NamedTuple):
    """A token with its characters."""

    id: int
    start: int
    end: int


class Codec:
    """One model's tokenizer with the format of its prompts."""

    def __init__(self, tokenizer: Any, written: Format, name: str, *, bos: bool) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ExtractionError(
                f"The tokenizer of {name} does not report character offsets.",
                hint="use a model that has a tokenizer.json",
            )
        self.tokenizer, self.format, self.name = tokenizer, written, name
        self.first = [int(tokenizer.bos_token_id)] if bos and tokenizer.bos_token_id is not None else []
        marks = [text for marks in written.thinking for text in marks]
        self.controls = {
            token.content: int(number)
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special
            or (token.content.strip() and any(token.content in part for part in (*written.written, *marks)))
        }
        """The texts of special tokens, and of what the format uses like them, with their ids.

        Line breaks, which Gemma's tokenizer has among its added tokens, are text wherever they stand.
        """
        self._in_answers = {token for token in self.controls if any(token in mark for mark in marks)}

    def controls_in(self, text: str) -> list[str]:
        """The special tokens that a text holds as characters."""
        return [token for token in self.controls if token in text]

    def ids_of(self, text: str) -> list[int]:
        """The tokens of a text that stands alone."""
        return [span.id for span in _spans(self.tokenizer, text)]

    @property
    def ends(self) -> tuple[int, ...]:
        """The id of the special token with which the format ends an answer, if the tokenizer has it."""
        return (self.controls[self.format.end],) if self.format.end in self.controls else ()

    @property
    def shown(self) -> frozenset[int]:
        """The special tokens that are a part of answers."""
        return frozenset(self.controls[token] for token in self._in_answers)

    def class_of_last(self, written: Sequence[int], before: int) -> Literal["thinking", "response"]:
        """The position class of the last token that a model has written after the token `before`.

        It belongs to the thought, or to the answer after it.

        Where an opening mark is several tokens, only its last one shows what they are.
        """
        if not self.format.thinking:
            return "response"
        text = answer_of(written, (), self.tokenizer, before, self.shown).text
        start = answer_start(text, self.format)
        return "thinking" if start is None or 0 < start >= len(text) else "response"

    def encode(self, prompt: SideText, answer: str, written: Sequence[int] | None = None) -> Encoded:
        """The prompt and the answer as tokens: those that were `written`, if they are known.

        The prompt has the same tokens as when the answer was generated. If the end of the prompt and the beginning of
        the answer would merge into one token, the answer is encoded separately.
        """
        head = self._tokens(prompt.text, prompt, len(prompt.text))
        n_prompt, spans = len(head), head
        if answer:
            spans = self._tokens(prompt.text + answer, prompt, len(prompt.text))
            if [span.id for span in spans[:n_prompt]] != [span.id for span in head]:
                shift = len(prompt.text)
                alone = self._tokens(answer, SideText(answer, 0, 0), 0)
                spans = head + [_Span(span.id, span.start + shift, span.end + shift) for span in alone]
        if written is not None and [span.id for span in spans[n_prompt:]] != list(written):
            shift = len(prompt.text)
            found = character_spans(self.tokenizer, written, answer, head[-1].id, self.shown)
            spans = head + [
                _Span(number, start + shift, end + shift)
                for number, (start, end) in zip(written, found, strict=True)
            ]
        # A template may write what its tokenizer would put before a text, too.
        first = [] if [span.id for span in spans[:1]] == self.first else self.first
        zeros = [0] * len(first)
        return Encoded(
            first + [span.id for span in spans],
            zeros + [span.start for span in spans],
            zeros + [span.end for span in spans],
            n_prompt + len(first),
        )

    def _tokens(self, text: str, prompt: SideText, n_prompt: int) -> list[_Span]:
        """The tokens of a text that begins with `n_prompt` characters of a prompt."""
        content = slice(prompt.content_start, prompt.content_end)
        foreign = self.controls_in(text[content]) + [
            token for token in self.controls_in(text[n_prompt:]) if token not in self._in_answers
        ]
        if not foreign:
            return _spans(self.tokenizer, text)
        owned = [
            *self._owned(text, 0, content.start),
            *self._owned(text, content.stop, n_prompt),
            *self._marks(text, n_prompt),
        ]
        spans: list[_Span] = []
        for start, span in zip([0, *(each.end for each in owned)], [*owned, None], strict=True):
            spans += self._plainly(text[start : len(text) if span is None else span.start], start)
            spans += [span] if span is not None else []
        return spans

    def _owned(self, text: str, start: int, end: int) -> list[_Span]:
        """The special tokens that the template writes between two characters of a text."""
        return [
            _Span(span.id, span.start + start, span.end + start)
            for span in _spans(self.tokenizer, text[start:end])
            if span.id in self._numbers
        ]

    def _marks(self, text: str, start: int) -> list[_Span]:
        """The marks of thoughts in an answer, as far as they are special tokens."""
        if not self._in_answers:
            return []
        pattern = "|".join(map(re.escape, sorted(self._in_answers, key=len, reverse=True)))
        return [
            _Span(self.controls[found.group()], found.start(), found.end())
            for found in re.compile(pattern).finditer(text, start)
        ]

    @cached_property
    def _numbers(self) -> set[int]:
        return set(self.controls.values())

    def _plainly(self, section: str, start: int) -> list[_Span]:
        """The tokens of a section of a text, with special tokens as plain pieces."""
        if not section:
            return []
        before = BEFORE if start else ""
        encoding = self._plain.encode(before + section, add_special_tokens=False)
        shift = start - len(before)
        spans = [
            _Span(self.tokenizer.convert_tokens_to_ids(token), first + shift, end + shift)
            for token, (first, end) in zip(encoding.tokens, encoding.offsets, strict=True)
            if token != BEFORE
        ]
        # The unknown token stands for characters that the tokenizer does not have.
        if (self._numbers - {self.tokenizer.unk_token_id}) & {span.id for span in spans}:
            held = ", ".join(self.controls_in(section))
            raise ExtractionError(
                f"The tokenizer of {self.name} cannot read {held} as plain text.",
                hint="take it out of the prompts",
            )
        return spans

    @cached_property
    def _plain(self) -> Tokenizer:
        """The same tokenizer without special tokens."""
        made = json.loads(self.tokenizer.backend_tokenizer.to_str())
        made["added_tokens"] = [
            token for token in made["added_tokens"] if token["content"] not in self.controls
        ]
        made["post_processor"] = made["truncation"] = made["padding"] = None
        if made["model"]["type"] == "Unigram":  # its vocabulary holds them as pieces
            made["model"]["vocab"] = [
                [piece, -1e6 if piece in self.controls else score] for piece, score in made["model"]["vocab"]
            ]
        plain: Tokenizer = Tokenizer.from_str(json.dumps(made))
        plain.add_special_tokens([AddedToken(BEFORE, normalized=False, special=True)])
        return plain


def _spans(tokenizer: Any, text: str) -> list[_Span]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [
        _Span(int(number), int(start), int(end))
        for number, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def adds_bos(tokenizer: Any) -> bool:
    """Whether a tokenizer puts its beginning-of-text token before a text."""
    ids = list(tokenizer("a")["input_ids"])
    return len(ids) > 1 and ids[0] == tokenizer.bos_token_id
