"""Whether a model's own activations tell where a feature fires: the half of 'added' that a ratio cannot show.

A ridge regression with whole clusters left out, one penalty of several, per model, layer and position class. What
depends on the activations alone is worked out once and serves every group that is asked about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from analyze.extraction import Extraction, FloatArray, IntArray
from analyze.features import LayerEffects
from analyze.groups.join import Group, main_side, token_activity
from fi_store.method import METHOD

PENALTIES = np.logspace(-1, 5, 13)
"""Penalties that the ridge chooses from, for inputs divided by the layer's scale."""
FOLDS = 5
MIN_ROWS = 100
"""Rows of C under which a regression on residuals would say nothing."""
KEPT = 4
"""Regressions that are kept ready: of both models at two places. One takes 5 d^2 numbers and a copy of its rows."""


@dataclass(frozen=True)
class Residuals:
    """Every row (N, d) that either model was read at, by (reader, index of the layer), and regressions on them."""

    rows: dict[tuple[str, int], torch.Tensor]
    extraction: Extraction
    _ridges: dict[tuple[str, int, int], GroupedRidge] = field(default_factory=dict, init=False, compare=False)

    def ridge(self, reader: str, index: int, position_class: int, scale: float) -> GroupedRidge:
        """The regression on a model's rows of C in one position class, divided by the layer's scale.

        The last few are kept ready: results often ask about the same place again.
        """
        key = reader, index, position_class
        if key not in self._ridges:
            while len(self._ridges) >= KEPT:
                del self._ridges[next(iter(self._ridges))]
            chosen = _asked(self.extraction, position_class)
            x = self.rows[reader, index][torch.from_numpy(chosen)].to(torch.float32) / scale
            clusters = self.extraction.units.clusters[self.extraction.rows.unit[chosen]]
            self._ridges[key] = GroupedRidge(x.numpy(), clusters)
        return self._ridges[key]


class GroupedRidge:
    """Cross-validated ridge predictions from rows (n, d), whole clusters left out, at the penalty that predicts best.

    One eigendecomposition per fold serves all penalties (Hoerl and Kennard 1970) and all targets; sklearn's RidgeCV
    scores every penalty by leaving single rows out, which ignores clusters and is slow at d = 576 (bench/LOG.md).
    """

    def __init__(self, x: npt.NDArray[np.float32], clusters: IntArray) -> None:
        self.x = x
        self.folds = [test for _, test in GroupKFold(n_splits=FOLDS).split(x, groups=clusters)]
        self.sums = [self._fold(test).sum(axis=0) for test in self.folds]
        squares = [self._fold(test).T @ self._fold(test) for test in self.folds]
        self.decomposed = []
        for fold, test in enumerate(self.folds):
            n = len(x) - len(test)
            center = (sum(self.sums) - self.sums[fold]) / n
            inside = sum(squares) - squares[fold] - n * np.outer(center, center)
            self.decomposed.append((center, *np.linalg.eigh(inside)))

    def predict(self, y: FloatArray) -> FloatArray:
        """(n,) predictions of y (n,), every row from a fit without its cluster."""
        products = [self._fold(test).T @ y[test] for test in self.folds]
        predicted = np.empty((len(y), len(PENALTIES)))
        for fold, test in enumerate(self.folds):
            center, values, vectors = self.decomposed[fold]
            outside = np.delete(y, test)
            level = outside.mean()
            along = vectors.T @ (sum(products) - products[fold] - outside.sum() * center)
            # (d, penalties): coefficients in the eigenbasis for every penalty at once.
            shrunk = along[:, None] / (np.maximum(values, 0)[:, None] + PENALTIES[None, :])
            coefficients = vectors @ shrunk
            predicted[test] = self._fold(test) @ coefficients + (level - center @ coefficients)
        return predicted[:, np.square(y[:, None] - predicted).sum(axis=0).argmin()]

    def _fold(self, test: IntArray) -> FloatArray:
        return self.x[test].astype(np.float64)


def readability(
    group: Group, layers: Sequence[LayerEffects], extraction: Extraction, residuals: Residuals
) -> tuple[float | None, float | None]:
    """AUC with which a cross-validated ridge on each model's own residuals tells the C rows where the group fires.

    The ridge predicts max(f_base, f_target); the group fires where that exceeds half its mean over firing rows. Its
    R^2 would not do: those of uncorrelated features sum to the number of dimensions at most, so where directions
    outnumber dimensions hardly one can be high (bench/LOG.md). Reads the layer of the group's strongest member on the
    main side; (None, None) with too few rows, or too few of either sort.
    """
    chosen = _asked(extraction, group.position_class)
    clusters = extraction.units.clusters[extraction.rows.unit[chosen]]
    if len(chosen) < MIN_ROWS or len(np.unique(clusters)) < FOLDS:
        return None, None
    activity = np.maximum(
        token_activity(group, layers, "base", group.direction),
        token_activity(group, layers, "target", group.direction),
    )[chosen]
    firing = activity[activity > 0]
    if len(firing) < METHOD.alive_tokens:
        return None, None
    # Half of its usual strength: the rows of a group that fires everywhere are told apart by how much, too.
    fires = activity > firing.mean() / 2
    if min(fires.sum(), (~fires).sum()) < METHOD.alive_tokens:
        return None, None
    index = main_side(group)[0].layer_index
    scale = layers[index].dictionary.config.scale
    base, target = (
        residuals.ridge(reader, index, group.position_class, scale).predict(activity)
        for reader in ("base", "target")
    )
    return float(roc_auc_score(fires, base)), float(roc_auc_score(fires, target))


def _asked(extraction: Extraction, position_class: int) -> IntArray:
    """The rows of C of a position class, each answer in its author's text."""
    rows = extraction.rows
    return np.flatnonzero(~rows.discovery & rows.own & (rows.position_class == position_class))
