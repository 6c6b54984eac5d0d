"""Whether a model's own activations predict where a feature fires: the half of "added" that a ratio cannot show.

A ridge regression for each model, layer and position class, with whole clusters left out and the best of several
penalties. What depends on the activations alone is computed once and reused for every group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from analyze.extraction import Extraction, FloatArray, IntArray
from analyze.groups.group import Group
from analyze.shards import BLOCK, Vectors
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side

PENALTIES = np.logspace(-1, 5, 13)
"""Penalties that the ridge chooses among, for inputs divided by the layer's scale."""
FOLDS = 5
MIN_ROWS = 100
"""With fewer rows of C, a regression on residuals would show nothing."""
KEPT = 4
"""How many regressions are cached: two for each model. One takes 5 d^2 numbers."""


@dataclass(frozen=True)
class Residuals:
    """Rows (N, d) of both models, by (reader, index of the layer), and cached regressions on them."""

    rows: Mapping[tuple[Side, int], Vectors]
    extraction: Extraction
    _ridges: dict[tuple[Side, int, int], GroupedRidge] = field(
        default_factory=dict, init=False, compare=False
    )

    def ridge(self, reader: Side, index: int, position_class: int, scale: float) -> GroupedRidge:
        """The regression on a model's rows of C in one position class, divided by the layer's scale.

        The last few are cached, since results often need the same one again.
        """
        key = reader, index, position_class
        if key not in self._ridges:
            while len(self._ridges) >= KEPT:
                del self._ridges[next(iter(self._ridges))]
            chosen = _confirmation_rows(self.extraction, position_class)
            clusters = self.extraction.units.clusters[self.extraction.rows.unit[chosen]]
            self._ridges[key] = GroupedRidge(self.rows[reader, index], chosen, scale, clusters)
        return self._ridges[key]


class GroupedRidge:
    """Cross-validated ridge predictions from chosen rows (n,) of (N, d), whole clusters left out, at the best penalty.

    Rows are divided by a scale, and read whenever they are needed.

    One eigendecomposition per fold serves all penalties (Hoerl and Kennard 1970) and all targets. sklearn's RidgeCV
    scores every penalty by leaving single rows out, which ignores clusters and is slow at d = 576 (bench/LOG.md).
    """

    def __init__(self, rows: Vectors, chosen: IntArray, scale: float, clusters: IntArray) -> None:
        self.rows, self.chosen, self.scale = rows, chosen, scale
        self.folds = [test for _, test in GroupKFold(n_splits=FOLDS).split(chosen, groups=clusters)]
        d = rows.shape[1]
        self.sums = [np.zeros(d) for _ in self.folds]
        squares = [np.zeros((d, d)) for _ in self.folds]
        for fold, test in enumerate(self.folds):
            for _, x in self._blocks(test):
                self.sums[fold] += x.sum(axis=0)
                squares[fold] += x.T @ x
        self.decomposed = []
        for fold, test in enumerate(self.folds):
            n = len(chosen) - len(test)
            center = (sum(self.sums) - self.sums[fold]) / n
            inside = sum(squares) - squares[fold] - n * np.outer(center, center)
            self.decomposed.append((center, *np.linalg.eigh(inside)))

    def predict(self, y: FloatArray) -> FloatArray:
        """(n,) predictions of y (n,), each row from a fit without its cluster."""
        products = [sum(x.T @ y[at] for at, x in self._blocks(test)) for test in self.folds]
        predicted = np.empty((len(y), len(PENALTIES)))
        for fold, test in enumerate(self.folds):
            center, values, vectors = self.decomposed[fold]
            outside = np.delete(y, test)
            level = outside.mean()
            along = vectors.T @ (sum(products) - products[fold] - outside.sum() * center)
            # (d, penalties): coefficients in the eigenbasis for every penalty at once.
            shrunk = along[:, None] / (np.maximum(values, 0)[:, None] + PENALTIES[None, :])
            coefficients = vectors @ shrunk
            for at, x in self._blocks(test):
                predicted[at] = x @ coefficients + (level - center @ coefficients)
        return predicted[:, np.square(y[:, None] - predicted).sum(axis=0).argmin()]

    def _blocks(self, test: IntArray) -> Iterator[tuple[IntArray, FloatArray]]:
        """The inputs (b, d) of a fold, some at a time, after their numbers (b,) among the chosen rows."""
        for start in range(0, len(test), BLOCK):
            at = test[start : start + BLOCK]
            x = self.rows[torch.from_numpy(self.chosen[at])].to(torch.float32) / self.scale
            yield at, x.numpy().astype(np.float64)


def readability(
    group: Group, extraction: Extraction, residuals: Residuals
) -> tuple[float | None, float | None]:
    """AUC of a cross-validated ridge on each model's own residuals, for the rows of C where the group fires.

    The ridge predicts max(f_base, f_target); the group fires where that exceeds half its mean over firing rows. R^2
    would not do: for uncorrelated features they sum to at most the number of dimensions, so with more directions than
    dimensions hardly one can be high (bench/LOG.md).
    (None, None) with too few rows in all, or too few that fire or do not.
    """
    chosen = _confirmation_rows(extraction, group.position_class)
    clusters = extraction.units.clusters[extraction.rows.unit[chosen]]
    if len(chosen) < MIN_ROWS or len(np.unique(clusters)) < FOLDS:
        return None, None
    activity = np.maximum(*(group.activity(side, group.direction) for side in SIDES))[chosen]
    firing = activity[activity > 0]
    if len(firing) < METHOD.alive_tokens:
        return None, None
    # Half of the usual strength, so the rows of a group that fires everywhere are separated too, by how much it fires.
    fires = activity > firing.mean() / 2
    if min(fires.sum(), (~fires).sum()) < METHOD.alive_tokens:
        return None, None
    scale = group.effects.dictionary.config.scale
    base, target = (
        residuals.ridge(side, group.index, group.position_class, scale).predict(activity) for side in SIDES
    )
    return float(roc_auc_score(fires, base)), float(roc_auc_score(fires, target))


def _confirmation_rows(extraction: Extraction, position_class: int) -> IntArray:
    """The rows of C in a position class, without control texts."""
    rows = extraction.rows
    return np.flatnonzero(~rows.discovery & rows.own & (rows.position_class == position_class))
