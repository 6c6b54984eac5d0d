"""Marks in a text what a behavior rests on: the words or the word sequence of its predicate.

A form, a language or the length of an answer has no such words and marks nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True)
class Piece:
    """A stretch of text."""

    text: str
    marked: bool


def marked(text: str, behavior: Mapping[str, Any] | None) -> tuple[Piece, ...]:
    """The text in pieces; takes time in proportion to its length, whatever it contains.

    Args:
        behavior: a row of the query `behaviors`, whose `predicate` is JSON; None marks nothing.
    """
    pieces: list[Piece] = []
    at = 0
    for start, end in _spans(text, behavior):
        pieces += [Piece(text[at:start], False), Piece(text[start:end], True)]
        at = end
    return tuple(piece for piece in (*pieces, Piece(text[at:], False)) if piece.text)


def _spans(text: str, behavior: Mapping[str, Any] | None) -> list[tuple[int, int]]:
    """Characters, in order, without overlap."""
    predicate = json.loads(behavior["predicate"]) if behavior is not None else {}
    wanted = tuple(str(word).casefold() for word in predicate.get("value", ()))
    found = list(_WORD.finditer(text))
    if predicate.get("kind") == "words":
        return [match.span() for match in found if match[0].casefold() in wanted]
    if predicate.get("kind") != "sequence" or not wanted:
        return []
    own = [match[0].casefold() for match in found]
    spans: list[tuple[int, int]] = []
    for i in range(len(own) - len(wanted) + 1):
        start, end = found[i].start(), found[i + len(wanted) - 1].end()
        if tuple(own[i : i + len(wanted)]) == wanted and (not spans or start >= spans[-1][1]):
            spans.append((start, end))
    return spans
