"""Significance: the confirmation test against a floor, the category contrast, the exploration table's FDR.

All tests are over clusters of prompts. Families are corrected by the largest statistic over everything that was tested
(Westfall and Young 1993, maxT), with the same random flips or permutations for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analyze.extraction import BoolArray, FloatArray, IntArray
from fi_store.method import METHOD

_TINY = 1e-12


@dataclass(frozen=True)
class Confirmation:
    """One test per column; NaN where a column was not eligible."""

    statistic: FloatArray
    p_value: FloatArray  # raw, one-sided
    p_adjusted: FloatArray  # maxT over the eligible columns
    q_value: FloatArray  # Benjamini-Hochberg over the raw p


def cluster_means(values: FloatArray, clusters: IntArray) -> FloatArray:
    """(n_clusters, m) means of values (n, m) over the units of each cluster, in ascending order of the clusters."""
    _, index, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, index, values)
    return np.asarray(sums / counts[:, None])


def confirm(
    scores: FloatArray,
    signs: FloatArray,
    floors: FloatArray,
    eligible: BoolArray,
    seed: int,
    strata: IntArray | None = None,
    inside: BoolArray | None = None,
) -> Confirmation:
    """Tests |E score| <= floor, one-sided in the direction that D gave, for K columns at once (METHOD section 3).

    `scores`: (clusters of C, K); `signs`, `floors`, `eligible`: (K,); `strata`: (clusters,) from `strata_of`, or one
    stratum if None; `inside`: (clusters, K) the clusters on which a column is tested, in whole strata, or all if None.

    x = sign * score - floor is studentized by the error of a stratified mean. For the null distribution, differences
    between strata are removed (residuals from the strata's means around the mean of the column's strata), the sign of
    whole clusters' x is flipped, with the same flips for every column, and every flip is studentized again.
    """
    n, k = scores.shape
    empty = np.full(k, np.nan)
    statistic, p, adjusted, q = empty.copy(), empty.copy(), empty.copy(), empty.copy()
    if not eligible.any() or n < 2:
        return Confirmation(statistic, p, adjusted, q)
    strata = np.zeros(n, dtype=np.int64) if strata is None else strata
    inside = np.ones(scores.shape, dtype=bool) if inside is None else inside
    x = scores[:, eligible] * signs[eligible] - floors[eligible]
    x = _without_strata(x, strata, inside[:, eligible])
    observed = _stratified(np.ones((1, n)), x, strata)[0]
    random = np.random.default_rng(seed)
    flips = random.choice(np.asarray([-1.0, 1.0]), size=(METHOD.sign_flips, n))
    null = _stratified(flips, x, strata)  # (B, eligible)
    statistic[eligible] = observed
    p[eligible] = _p(null, observed)
    adjusted[eligible] = _p(null.max(axis=1, keepdims=True), observed)
    q[eligible] = benjamini_hochberg(p[eligible])
    return Confirmation(statistic, p, adjusted, q)


def strata_of(labels: npt.NDArray[np.str_]) -> IntArray:
    """(n,) the stratum of each cluster of C: its category, if that has METHOD.min_category_clusters clusters.

    All other clusters form one stratum. If that would be a single cluster, whose variance is unknown, the smallest
    category joins it. The halves are drawn category by category, so the number of clusters of each category in C is not
    random, and differences between categories are no error of the overall mean (Cochran 1977, "Sampling techniques",
    section 5).
    """
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    small = counts < METHOD.min_category_clusters
    if counts[small].sum() == 1 and not small.all():
        small[np.argmin(np.where(small, len(labels), counts))] = True
    return np.asarray(np.where(small, len(counts), np.arange(len(counts)))[index], dtype=np.int64)


def within_strata(values: FloatArray, strata: IntArray) -> FloatArray:
    """(n, k) values without differences between strata, stretched so that resampling them gives the stratified error.

    Residuals from the strata's means times sqrt(n_h / (n_h - 1) (n - 1) / n), around the overall mean: their plain
    variance over n equals that of a stratified mean. With one stratum, values are unchanged.
    """
    sizes = np.bincount(strata)[strata]
    n = len(values)
    if (sizes == n).all():
        return values
    overall = values.mean(axis=0)
    stretch = np.sqrt(sizes / (sizes - 1) * (n - 1) / n)[:, None]
    everywhere = np.ones(values.shape, dtype=bool)
    return np.asarray(overall + stretch * (_without_strata(values, strata, everywhere) - overall))


def category_of_stratum(labels: npt.NDArray[np.str_]) -> list[str]:
    """The categories that are a stratum of their own (`strata_of`)."""
    strata = strata_of(labels)
    alone = [np.unique(labels[strata == stratum]) for stratum in np.unique(strata)]
    counts = {name: int((labels == name).sum()) for (name, *others) in alone if not others}
    return [str(name) for name, count in counts.items() if count >= METHOD.min_category_clusters]


def stratified_t(x: FloatArray, strata: IntArray) -> float:
    """The mean of x (n,) divided by the error of a stratified mean: the statistic of `confirm` for one column."""
    return float(_stratified(np.ones((1, len(x))), x[:, None], strata)[0, 0])


def _without_strata(values: FloatArray, strata: IntArray, inside: BoolArray) -> FloatArray:
    """Residuals from the strata's means around the mean of a column's clusters.

    They are 0 where `inside` (n, k) is False and so add nothing to a sum or an error. With one stratum and every
    cluster inside, values are unchanged.
    """
    if inside.all() and (strata == strata[0]).all():
        return values
    kept = np.where(inside, values, 0.0)
    overall = kept.sum(axis=0) / inside.sum(axis=0)
    found = np.zeros_like(values)
    for stratum in np.unique(strata):
        here = strata == stratum
        found[here] = np.where(inside[here], overall + (values[here] - values[here].mean(axis=0)), 0.0)
    return found


def _stratified(flips: FloatArray, x: FloatArray, strata: IntArray) -> FloatArray:
    """(B, k) mean divided by its stratified error, sqrt(sum_h n_h s_h^2) / n, for x (n, k) under flips (B, n)."""
    variance = np.zeros((len(flips), x.shape[1]))
    for stratum in np.unique(strata):
        inside = strata == stratum
        size = int(inside.sum())
        sums, squares = flips[:, inside] @ x[inside], np.square(x[inside]).sum(axis=0)
        variance += size * np.maximum(squares - np.square(sums) / size, 0) / (size - 1)
    return np.asarray((flips @ x) / np.sqrt(np.maximum(variance, len(x) * _TINY)))


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


def explore(theta: npt.NDArray[np.float32], clusters: IntArray, seed: int) -> tuple[FloatArray, FloatArray]:
    """|t| of every column of theta (units, m) against zero, and the binned null |t| of 1,000 flips by cluster.

    Returns (observed (m,), null counts (EXPLORE_BINS,)); columns without variation are NaN. Pool the counts of all
    tables, then call `pooled_fdr`.
    """
    means = cluster_means(np.asarray(theta, dtype=np.float64), clusters)
    n = len(means)
    counts = np.zeros(EXPLORE_BINS)
    if n < 3:
        return np.full(theta.shape[1], np.nan), counts
    squares = np.square(means).sum(axis=0)
    varied = squares > _TINY
    observed = np.full(theta.shape[1], np.nan)
    observed[varied] = np.abs(_studentized(means[:, varied].mean(axis=0), squares[varied], n))
    random = np.random.default_rng(seed)
    flips = random.choice(np.asarray([-1.0, 1.0], dtype=np.float32), size=(METHOD.explore_permutations, n))
    null = np.abs(
        _studentized(flips @ means[:, varied].astype(np.float32) / n, squares[varied].astype(np.float32), n)
    )
    counts += np.bincount(_bin(null).ravel(), minlength=EXPLORE_BINS)
    return observed, counts


EXPLORE_BINS = 6001
"""Bins of the exploration null's histogram of |t|; the last one is open-ended."""
EXPLORE_WIDTH = 0.01


def _bin(t: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """The bin of each |t|."""
    return np.asarray(np.minimum(t / EXPLORE_WIDTH, EXPLORE_BINS - 1), dtype=np.int32)


def pooled_fdr(observed: FloatArray, null_counts: FloatArray) -> FloatArray:
    """q of each |t|: expected null exceedances over observed exceedances, made monotone (Storey and Tibshirani 2003).

    `null_counts` is the pooled histogram of all flips. All null values in an observed value's own bin count as
    exceeding it, which is conservative. NaN stays NaN.
    """
    valid = ~np.isnan(observed)
    q = np.full(observed.shape, np.nan)
    t = observed[valid]
    if t.size == 0:
        return q
    order = np.argsort(-t, kind="stable")
    # Expected per flip, from a bin upward.
    exceed = np.cumsum(null_counts[::-1])[::-1] / METHOD.explore_permutations
    expected = exceed[_bin(t[order])]
    raw = expected / np.arange(1, t.size + 1)
    monotone = np.minimum.accumulate(raw[::-1])[::-1]
    values = np.empty_like(t)
    values[order] = np.minimum(1.0, monotone)
    q[valid] = values
    return q


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """q values (Benjamini and Hochberg 1995) of a family of p values."""
    m = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * m / np.arange(1, m + 1)
    q = np.empty(m)
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q


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


def _studentized(mean: npt.NDArray[np.floating], squares: npt.NDArray[np.floating], n: int) -> FloatArray:
    """mean / (sd / sqrt n) from the mean and the sum of squares, which flips do not change."""
    variance = np.maximum((squares - n * np.square(mean)) / (n - 1), _TINY)
    return np.asarray(mean / np.sqrt(variance / n), dtype=np.float64)


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
