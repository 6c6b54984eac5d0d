"""Significance over clusters of prompts: the contrast between categories, McNemar's test, Holm's correction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analyze.extraction import BoolArray, FloatArray, IntArray
from fi_store.method import METHOD

_TINY = 1e-12


def cluster_means(values: FloatArray, clusters: IntArray) -> FloatArray:
    """(n_clusters, m) means of values (n, m) over the units of each cluster, in ascending order of the clusters."""
    _, index, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, index, values)
    return np.asarray(sums / counts[:, None])


def category_contrasts(
    scores: FloatArray, categories: npt.NDArray[np.str_], seed: int
) -> tuple[list[str], FloatArray, FloatArray, FloatArray]:
    """One category against the rest: names, contrasts, studentized statistics, two-sided maxT-adjusted p.

    `scores`: (n,) one value per cluster of C. Labels are permuted. Categories with too few clusters keep a contrast,
    but their statistic and p are NaN and they do not count in the family.
    """
    names, codes, counts = np.unique(categories, return_inverse=True, return_counts=True)
    contrast, statistic = _contrasts(scores, codes[None, :], len(names))
    tested = (counts >= METHOD.min_category_clusters) & (len(scores) - counts >= METHOD.min_category_clusters)
    p = np.full(len(names), np.nan)
    if tested.any():
        random = np.random.default_rng(seed)
        largest = []
        for _ in range(0, METHOD.category_permutations, 999):
            shuffled = random.permuted(np.tile(codes, (999, 1)), axis=1)
            null = _contrasts(scores, shuffled, len(names))[1]
            largest.append(np.abs(null[:, tested]).max(axis=1))
        null_max = np.concatenate(largest)[:, None]
        p[tested] = _p(null_max, np.abs(statistic[0, tested]))
    statistic[0, ~tested] = np.nan
    return [str(name) for name in names], contrast[0], statistic[0], p


def holm(p: FloatArray) -> FloatArray:
    """Adjusted p values (Holm 1979, Scand. J. Statist. 6:65-70) of a family: step-down Bonferroni."""
    m = len(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (m - np.arange(m))))
    return adjusted


def mcnemar(base: BoolArray, target: BoolArray) -> float:
    """Exact two-sided McNemar p of two paired yes/no series."""
    from scipy.stats import binomtest

    only_base, only_target = int((base & ~target).sum()), int((~base & target).sum())
    if only_base + only_target == 0:
        return 1.0
    return float(binomtest(only_target, only_base + only_target, 0.5).pvalue)


def _contrasts(scores: FloatArray, codes: IntArray, n_categories: int) -> tuple[FloatArray, FloatArray]:
    """Contrasts and Welch statistics (B, categories) for B labelings (B, n) of the same scores."""
    n = len(scores)
    total, total_squares = scores.sum(), np.square(scores).sum()
    contrast = np.zeros((len(codes), n_categories))
    statistic = np.zeros_like(contrast)
    for category in range(n_categories):
        inside = codes == category
        count = inside.sum(axis=1)
        sums, squares = inside @ scores, inside @ np.square(scores)
        a, b = sums / np.maximum(count, 1), (total - sums) / np.maximum(n - count, 1)
        var_a = np.maximum(squares - count * a**2, 0) / np.maximum(count - 1, 1)
        var_b = np.maximum(total_squares - squares - (n - count) * b**2, 0) / np.maximum(n - count - 1, 1)
        error = np.sqrt(var_a / np.maximum(count, 1) + var_b / np.maximum(n - count, 1) + _TINY)
        contrast[:, category] = a - b
        statistic[:, category] = (a - b) / error
    return contrast, statistic


def _p(null: FloatArray, observed: FloatArray) -> FloatArray:
    """Monte Carlo p that counts the observed value as a draw (Phipson and Smyth 2010)."""
    return np.asarray((1 + (null >= observed - 1e-9).sum(axis=0)) / (len(null) + 1), dtype=np.float64)
