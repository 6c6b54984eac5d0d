"""Aligns two tokenizations of the same text: which positions can be compared, and whether the next tokens can.

A position is kept if it belongs to the user's text (`prompt`), is the last template token before the answer (`start`)
or belongs to the answer (`response`), and if both tokenizers have a token boundary right after it. All other template
tokens and the first token are dropped here and nowhere later: they carry large constant differences.
"""

from __future__ import annotations

from typing import NamedTuple

from extract.texts.templates import RenderedPrompt
from fi_store.vocabulary import PositionClass


class Encoded(NamedTuple):
    """Token ids with their character spans. The first `n_prompt` tokens are the rendered prompt."""

    ids: list[int]
    starts: list[int]
    ends: list[int]
    n_prompt: int


class AlignedPosition(NamedTuple):
    """A position that both tokenizations share: the index of its token in each, and its class."""

    base: int
    target: int
    position_class: PositionClass


def aligned_positions(base: Encoded, target: Encoded, prompt: RenderedPrompt) -> list[AlignedPosition]:
    """Every position that both tokenizations share, in order.

    A position is shared if a token ends at the same character in both and the next token begins there or later (one
    character may be split over several tokens). The last prompt token is `start` on both sides by definition.
    """
    by_end = {(end, position_class): index for index, end, position_class in _classified(target, prompt)}
    return [
        AlignedPosition(index, by_end[end, position_class], position_class)
        for index, end, position_class in _classified(base, prompt)
        if (end, position_class) in by_end
    ]


def _classified(encoded: Encoded, prompt: RenderedPrompt) -> list[tuple[int, int, PositionClass]]:
    """(token index, end character, class) of the tokens of one side that may be kept, in order."""
    found: list[tuple[int, int, PositionClass]] = []
    count = len(encoded.ids)
    for index in range(1, count):
        end = encoded.ends[index]
        at_boundary = index + 1 == count or index + 1 == encoded.n_prompt or encoded.starts[index + 1] >= end
        if index == encoded.n_prompt - 1:
            found.append((index, len(prompt.text), "start"))
        elif not at_boundary:
            continue
        elif index >= encoded.n_prompt:
            found.append((index, end, "response"))
        elif prompt.content_start < end <= prompt.content_end:
            found.append((index, end, "prompt"))
    return found


def next_tokens(base: Encoded, target: Encoded, position: AlignedPosition) -> tuple[int | None, int | None]:
    """The token after a position in each tokenization. The target's is None if they end at different characters."""
    base_index, target_index = position.base + 1, position.target + 1
    next_base = base.ids[base_index] if base_index < len(base.ids) else None
    next_target = target.ids[target_index] if target_index < len(target.ids) else None
    if next_base is None or next_target is None:
        return next_base, None
    same_end = base.ends[base_index] == target.ends[target_index]
    return next_base, next_target if same_end else None
