"""Answers as one model reads them, and where their kept rows and counted predictions are in the forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from extract.reading.batch import Batch, Level
from extract.reading.likelihood import Likelihood, likelihood


class Counted(NamedTuple):
    """A position whose prediction counts: the token that follows (or `END`) and the number of the text."""

    position: int
    token: int
    text: int


@dataclass(frozen=True)
class AnswerTexts:
    """Prompts with answers in one model's tokens.

    `kept` are (position, row) pairs: a row that several texts pass through is kept in each of them. `weights` (one for
    each text) make the sum whose gradient is taken. `stems` are the lengths of the prompts.
    """

    ids: list[list[int]]
    stems: list[int]
    kept: list[list[tuple[int, int]]]
    counted: list[list[Counted]]
    weights: list[float]
    n_rows: int

    @property
    def positions(self) -> list[list[int]]:
        """The positions of each text that are kept or counted, ascending."""
        return [
            sorted({at for at, _ in kept} | {each.position for each in counted})
            for kept, counted in zip(self.kept, self.counted, strict=True)
        ]

    @property
    def flat(self) -> list[Counted]:
        """The counted positions of all texts in one list, as they are numbered in passes."""
        return [each for part in self.counted for each in part]

    def by_text(self, values: Tensor) -> list[Tensor]:
        """Values of all counted positions, divided by text."""
        return list(torch.split(values, [len(part) for part in self.counted]))

    def batch(self, device: torch.device | str) -> Batch:
        """The texts as one batch."""
        return Batch(self.ids, self.positions, self.stems, device)


@dataclass(frozen=True)
class Scoring:
    """How a model's predictions are read: the ids that end an answer, and the logits that are no token's."""

    ends: Tensor  # (E,) int64
    padded: Tensor | None  # (V,) bool

    def score(self, logits: Tensor, tokens: Sequence[int], weights: Tensor | None = None) -> Likelihood:
        """The log-probabilities of tokens (or `END`) under logits (n, V), and their gradient if there are weights."""
        ids, ends = torch.tensor(tokens, device=logits.device), self.ends.to(logits.device)
        padded = None if self.padded is None else self.padded.to(logits.device)
        return likelihood(logits, ids, ends, padded, None if weights is None else weights.to(logits.device))


class Positions(NamedTuple):
    """Numbered positions of a pass, by row and column. rows, columns, numbers: (k,) int64."""

    rows: Tensor
    columns: Tensor
    numbers: Tensor

    def of(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same on the device of a module's output."""
        rows, columns, numbers = (part.to(hidden.device) for part in self)
        return rows, columns, numbers


class Predicted(NamedTuple):
    """Rows and columns (k,) of the predictions of a pass, and which of them belong to kept rows and counted ones."""

    places: tuple[Tensor, Tensor]
    kept: Tensor
    counted: Tensor


class PlannedPass(NamedTuple):
    """A pass with its kept rows and its counted predictions (numbered among all counted)."""

    level: Level
    kept: Positions
    counted: Positions

    @property
    def scored(self) -> tuple[Tensor, Tensor] | None:
        """The rows and columns of the counted predictions; None if there are none."""
        return (self.counted.rows, self.counted.columns) if len(self.counted.numbers) else None

    def predicted(self, *, kept: bool) -> Predicted | None:
        """Where predictions are read: those that are counted and, if asked, those of kept rows; None if nowhere."""
        both = [self.kept, self.counted] if kept else [self.counted]
        places = torch.cat([torch.stack([part.rows, part.columns]) for part in both], 1)
        if not places.shape[1]:
            return None
        places, at = torch.unique(places, dim=1, return_inverse=True)
        n_kept = len(self.kept.numbers) if kept else 0
        return Predicted((places[0], places[1]), at[:n_kept], at[n_kept:])


def plan_passes(texts: AnswerTexts, levels: Sequence[Level]) -> list[PlannedPass]:
    """Finds kept rows and counted predictions in the passes."""
    rows = [dict(kept) for kept in texts.kept]
    numbers = iter(range(sum(map(len, texts.counted))))
    numbered = [{each.position: next(numbers) for each in counted} for counted in texts.counted]
    flat = [(text, at) for text, some in enumerate(texts.positions) for at in some]
    of_row = torch.tensor([rows[text].get(at, -1) for text, at in flat], dtype=torch.long)
    of_counted = torch.tensor([numbered[text].get(at, -1) for text, at in flat], dtype=torch.long)
    return [PlannedPass(level, _numbered(level, of_row), _numbered(level, of_counted)) for level in levels]


def _numbered(level: Level, numbers: Tensor) -> Positions:
    """The positions that have a number, each once although several texts pass through it."""
    found = numbers.to(level.indices.device)[level.indices]
    table = torch.stack([level.rows, level.columns, found])[:, found >= 0]
    return Positions(*(torch.unique(table, dim=1) if table.shape[1] else table))
