"""Aligns two tokenizations of the same text: which positions can be compared, and whether the next tokens can.

A position is kept if it belongs to the user's text (`prompt`), is the last template token before the answer (`start`)
or belongs to the thought (`thinking`) or the answer after it (`response`), and if both tokenizers have a token boundary
right after it. All other template tokens and the first token are dropped here and nowhere later: they carry large
constant differences.
"""

from __future__ import annotations

from typing import NamedTuple

from extract.texts.rendering import RenderedPrompt, SideText
from extract.texts.tokens import Encoded
from fi_store.vocabulary import PositionClass


class AlignedPosition(NamedTuple):
    """A position that both tokenizations share: the index of its token in each, and its class."""

    base: int
    target: int
    position_class: PositionClass


def aligned_positions(
    base: Encoded, target: Encoded, prompt: RenderedPrompt, thought: int = 0
) -> list[AlignedPosition]:
    """Every position that both tokenizations share, in order. An answer begins with `thought` characters of thinking.

    A position is shared if a token ends at the same character of the user's text, or of the answer, in both and the
    next token begins there or later (one character may be split over several tokens). The last prompt token is `start`
    on both sides by definition.
    """
    by_end = {(end, name): index for index, end, name in _classified(target, prompt.target, thought)}
    return [
        AlignedPosition(index, by_end[end, name], name)
        for index, end, name in _classified(base, prompt.base, thought)
        if (end, name) in by_end
    ]


def _classified(encoded: Encoded, prompt: SideText, thought: int) -> list[tuple[int, int, PositionClass]]:
    """(token index, end character in its part of the text, class) of the tokens of one side that may be kept."""
    found: list[tuple[int, int, PositionClass]] = []
    count = len(encoded.ids)
    for index in range(1, count):
        start, end = encoded.starts[index], encoded.ends[index]
        at_boundary = index + 1 == count or index + 1 == encoded.n_prompt or encoded.starts[index + 1] >= end
        if index == encoded.n_prompt - 1:
            found.append((index, 0, "start"))
        elif not at_boundary or start == end:  # a token without text has the boundary of the one before it
            continue
        elif index >= encoded.n_prompt:
            at = end - len(prompt.text)
            found.append((index, at, "thinking" if at <= thought else "response"))
        elif prompt.content_start < end <= prompt.content_end:
            found.append((index, end - prompt.content_start, "prompt"))
    return found


def next_tokens(
    base: Encoded, target: Encoded, position: AlignedPosition, prompt: RenderedPrompt
) -> tuple[int | None, int | None]:
    """The token after a position in each tokenization. The target's is None if the texts of the two differ."""
    base_index, target_index = position.base + 1, position.target + 1
    next_base = base.ids[base_index] if base_index < len(base.ids) else None
    next_target = target.ids[target_index] if target_index < len(target.ids) else None
    if next_base is None or next_target is None:
        return next_base, None
    same_text = _text_of(base, base_index, prompt.base) == _text_of(target, target_index, prompt.target)
    return next_base, next_target if same_text else None


def _text_of(encoded: Encoded, index: int, prompt: SideText) -> tuple[bool, int, str]:
    """What a token stands for: whether it is in the answer, its end in its part of the text, its text in the prompt."""
    end, in_answer = encoded.ends[index], index >= encoded.n_prompt
    text = "" if in_answer else prompt.text[encoded.starts[index] : end]
    return in_answer, end - (len(prompt.text) if in_answer else prompt.content_start), text
