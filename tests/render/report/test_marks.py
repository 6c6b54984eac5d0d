"""Marking what a behavior rests on in an answer."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from render.report.marks import marked


def behavior(kind: str, *value: str) -> dict[str, Any]:
    return {"predicate": json.dumps({"kind": kind, "value": list(value), "least": 1})}


def spans(text: str, row: dict[str, Any] | None) -> list[str]:
    pieces = marked(text, row)
    assert "".join(piece.text for piece in pieces) == text
    return [piece.text for piece in pieces if piece.marked]


@pytest.mark.parametrize(
    ("text", "row", "found"),
    [
        ("Step by STEP, no stepping.", behavior("words", "step"), ["Step", "STEP"]),
        ("It's so; don't.", behavior("words", "don't", "so"), ["so", "don't"]),
        ("**Step** 1: a\nstep 2: b", behavior("sequence", "step", "1"), ["Step** 1"]),
        ("a a a", behavior("sequence", "a", "a"), ["a a"]),
        ("Step", behavior("sequence", "step", "1"), []),
        ("Schön, STRASSE straße", behavior("words", "strasse"), ["STRASSE", "straße"]),
        ("- a\n- b", behavior("form", "bulleted_list"), []),
        ("Hola", behavior("language", "es"), []),
        ("Step", behavior("words"), []),
        ("Step", None, []),
        ("", behavior("words", "a"), []),
    ],
)
def test_words_and_sequences_are_marked(text: str, row: dict[str, Any] | None, found: list[str]) -> None:
    assert spans(text, row) == found


@pytest.mark.parametrize("text", ["a'" * 50_000, "a " * 50_000, "\u202e<b>'’" * 30_000])
def test_long_hostile_text_does_not_hang(text: str) -> None:
    started = time.process_time()
    spans(text, behavior("sequence", *["a"] * 8))
    assert time.process_time() - started < 20
