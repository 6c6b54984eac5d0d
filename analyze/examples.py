"""Where a group acts: the words at which it does more than elsewhere, and windows of text around its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyze.extraction import BASE, BoolArray, Extraction, FloatArray
from analyze.groups import Group
from analyze.names import Contexts
from fi_store.vocabulary import SIDES, Side

TRIGGERS = 10
EXAMPLES = 5
WINDOW = 12
"""Tokens of context on either side of an example."""


@dataclass(frozen=True)
class Example:
    """A window of text around a firing token."""

    unit: int
    author: str
    before: str
    token: str
    after: str
    value_base: float
    value_target: float


def triggers_of(weights: FloatArray, chosen: BoolArray, contexts: Contexts) -> list[str]:
    """Words at which the group's change happens more than their share of the positions explains, strongest first."""
    active = chosen & (weights > 0)
    if not active.any():
        return []
    words, index = np.unique(contexts.words[chosen], return_inverse=True)
    change = np.bincount(index, weights=np.maximum(weights[chosen], 0), minlength=len(words))
    frequency = np.bincount(index, minlength=len(words))
    excess = change / change.sum() - frequency / frequency.sum()
    order = np.argsort(-excess, kind="stable")
    return [str(words[i]) for i in order[:TRIGGERS] if excess[i] > 0 and words[i]]


def examples_of(
    group: Group,
    extraction: Extraction,
    weights: FloatArray,
    chosen: BoolArray,
) -> list[Example]:
    """The strongest firing position of each of a few prompts, spread from the strongest to the median."""
    rows = extraction.rows
    fired = np.flatnonzero(chosen & (weights > 0))
    best: dict[int, int] = {}
    for row in fired[np.argsort(-weights[fired], kind="stable")]:
        best.setdefault(int(rows.unit[row]), int(row))
    picked = list(best.values())
    if len(picked) > EXAMPLES:
        picked = [picked[i] for i in np.unique(np.linspace(0, len(picked) // 2, EXAMPLES).astype(int))]
    activity = {side: group.activity(side, group.direction) for side in SIDES}
    return [_window(extraction, row, activity) for row in picked]


def _window(extraction: Extraction, row: int, activity: dict[Side, FloatArray]) -> Example:
    rows = extraction.rows
    inside = np.flatnonzero(rows.sequence == rows.sequence[row])
    inside = inside[np.argsort(rows.position[inside], kind="stable")]
    at = int(np.flatnonzero(inside == row)[0])

    def text(part: np.ndarray) -> str:
        return "".join(extraction.token_text.get(int(token), "") for token in rows.token[part])

    author = "base" if rows.author[row] == BASE else "target"
    return Example(
        unit=int(rows.unit[row]),
        author=author,
        before=text(inside[max(0, at - WINDOW) : at]),
        token=text(inside[at : at + 1]),
        after=text(inside[at + 1 : at + 1 + WINDOW]),
        value_base=float(activity["base"][row]),
        value_target=float(activity["target"][row]),
    )
