"""Debiased linear CKA between two sets of vectors over the same prompts, with a delete-a-cluster jackknife.

It works on Gram matrices, so the widths of the two models do not matter. Formulas: the unbiased HSIC of
Song, Smola, Gretton, Bedo and Borgwardt 2012 (JMLR 13:1393-1434, equation 5) inside the CKA of Kornblith,
Norouzi, Lee and Hinton 2019 (arXiv:1905.00414), as in Nguyen, Raghu and Kornblith 2021 (arXiv:2010.15327).

Why not a bootstrap: a resample holds some rows twice. A doubled row is its own perfect neighbor, so the off-
diagonal sums of a U-statistic compare a prompt with itself. CKA then rises in every resample, and the
interval is too high. Deleting a cluster never repeats a row, and the jackknife is consistent for smooth
functions of U-statistics (Arvesen 1969, Annals of Mathematical Statistics 40:2076-2100).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from fi_store.errors import AnalysisError

Floats = npt.NDArray[np.float64]

MIN_UNITS = 4
"""The unbiased HSIC divides by n (n - 3)."""


class Similarity(NamedTuple):
    """A similarity in [-1, 1] with its limits, which are None if no cluster can be left out."""

    value: float
    low: float | None
    high: float | None


class Gram(NamedTuple):
    """Inner products of one model's vectors over n units, the diagonal set to zero, with its own HSIC."""

    values: Floats  # (n, n)
    hsic: float
    hsic_without: Floats  # (C,) without cluster c; empty if too few units would be left
    starts: npt.NDArray[np.intp]  # (C,) first unit of each cluster


def make_gram(vectors: npt.ArrayLike, clusters: npt.ArrayLike) -> Gram:
    """Gram matrix of vectors (n, d); the units of a cluster must be adjacent.

    Vectors are centered first: the unbiased HSIC does not depend on the center, but large constant components
    (which every trained transformer has) would cost precision.

    Raises:
        AnalysisError: there are fewer than 4 units or NaN, or the units of a cluster are not adjacent.
    """
    x = np.asarray(vectors, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] < MIN_UNITS:
        raise AnalysisError(f"CKA needs {MIN_UNITS} prompts or more; the mean vectors have shape {x.shape}.")
    if not np.all(np.isfinite(x)):
        raise AnalysisError("The mean vectors hold NaN or infinite numbers.")
    starts = _cluster_starts(clusters, x.shape[0])
    x = x - x.mean(axis=0)
    values = x @ x.T
    np.fill_diagonal(values, 0)
    hsic, without = _hsic(values, values, starts)
    return Gram(values, hsic, without, starts)


def cka(a: Gram, b: Gram, level: float = 0.95) -> Similarity | None:
    """Debiased linear CKA of two Gram matrices over the same units.

    The interval is `value +- t * SE` with Student's t of C - 1 degrees of freedom for C clusters and
    `SE^2 = (C - 1) / C * sum((v_c - mean v)^2)`, where v_c is the CKA without cluster c. Limits are clipped to
    [-1, 1]. Identical matrices give exactly 1 with a zero-width interval.

    Returns:
        None if it is undefined because one side does not vary over the prompts (its HSIC is not above zero).
    """
    if a.values.shape != b.values.shape or not np.array_equal(a.starts, b.starts):
        raise AnalysisError("CKA compares vectors of the same prompts in the same order.")
    if a.hsic <= 0 or b.hsic <= 0:
        return None
    if a is b or np.array_equal(a.values, b.values):
        return Similarity(1.0, 1.0, 1.0)
    hsic, without = _hsic(a.values, b.values, a.starts)
    value = float(np.clip(hsic / np.sqrt(a.hsic * b.hsic), -1, 1))
    count = len(without)
    if count < 2 or np.any(a.hsic_without <= 0) or np.any(b.hsic_without <= 0):
        return Similarity(value, None, None)
    left_out = without / np.sqrt(a.hsic_without * b.hsic_without)
    error = np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2))
    half_width = float(special.stdtrit(count - 1, (1 + level) / 2) * error)
    return Similarity(value, max(value - half_width, -1.0), min(value + half_width, 1.0))


def _hsic(k: Floats, l: Floats, starts: npt.NDArray[np.intp]) -> tuple[float, Floats]:  # noqa: E741
    """Unbiased HSIC of two zero-diagonal Gram matrices, on all units and without each cluster.

    `(tr KL + 1'K1 1'L1 / ((n-1)(n-2)) - 2 1'KL1 / (n-2)) / (n (n-3))`. Each cluster's part is subtracted
    from the row sums, so all C values cost at most O(n^2 C), and O(n^2) if every cluster is one unit.
    """
    n = k.shape[0]
    sizes = np.diff(np.append(starts, n))
    product = k * l
    full = _combine(product.sum(), k.sum(), l.sum(), float(k.sum(axis=1) @ l.sum(axis=1)), np.asarray(n))
    left = n - sizes
    if left.min() < MIN_UNITS:
        return float(full), np.empty(0)
    trace = _sum_without(product, starts)
    total_k, total_l = _sum_without(k, starts), _sum_without(l, starts)
    # Row sums of the remaining units without the columns of cluster c: (n, C), zero inside cluster c.
    inside = np.repeat(np.arange(len(starts)), sizes)
    rows_k = k.sum(axis=1)[:, None] - np.add.reduceat(k, starts, axis=1)
    rows_l = l.sum(axis=1)[:, None] - np.add.reduceat(l, starts, axis=1)
    rows_k[np.arange(n), inside] = 0
    cross = np.einsum("nc,nc->c", rows_k, rows_l)
    return float(full), _combine(trace, total_k, total_l, cross, left)


def _combine(
    trace: Floats | float,
    sum_k: Floats | float,
    sum_l: Floats | float,
    cross: Floats | float,
    n: npt.NDArray[np.intp],
) -> Floats:
    """Equation 5 of Song et al. from its sums; all arguments broadcast."""
    part: Floats = trace + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)
    return part / (n * (n - 3))


def _sum_without(matrix: Floats, starts: npt.NDArray[np.intp]) -> Floats:
    """Sum of a symmetric matrix without the rows and columns of each cluster: (C,)."""
    rows = np.add.reduceat(matrix.sum(axis=1), starts)
    blocks = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    sums: Floats = matrix.sum() - 2 * rows + np.diagonal(blocks)
    return sums


def _cluster_starts(clusters: npt.ArrayLike, n: int) -> npt.NDArray[np.intp]:
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise AnalysisError(f"There are {n} mean vectors and cluster labels of shape {labels.shape}.")
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    if len(starts) != len(np.unique(labels)):
        raise AnalysisError("The units of a cluster must be adjacent; sort the units by cluster first.")
    return starts
