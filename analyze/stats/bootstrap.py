"""Confidence intervals by resampling whole clusters of prompts: means, ratios of sums, log ratios.

Every interval resamples clusters (METHOD section 1), never tokens or rows. All columns of an array share the
same resamples, so thousands of features cost one matrix product. Intervals are BCa (Efron 1987, "Better
bootstrap confidence intervals", JASA 82:171-185), with the acceleration from a jackknife over clusters. This
module does not know the store and tests nothing; `significance.py` computes p values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from fi_store.errors import AnalysisError
from fi_store.method import METHOD

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Combine = Callable[[Floats, Floats], Floats]
"""Turns two sums over rows (or one of them and the number of rows) into the statistic, elementwise."""

_COLUMNS = 1024  # columns in one block: at 2,000 draws a block of replicates takes 16 MB


@dataclass(frozen=True)
class Interval:
    """An estimate with its limits: arrays of one shape (0-d for a single column, so `float()` works).

    `corrected` is false where the percentile interval replaces BCa: no variation between clusters (then the
    width is zero), all draws on one side of the estimate, or a jackknife that is not finite.
    """

    estimate: Floats
    low: Floats
    high: Floats
    corrected: Bools


def mean_interval(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    level: float = 0.95,
    draws: int = METHOD.bootstrap_draws,
    seed: int = 0,
) -> Interval:
    """The mean over rows with its BCa interval over clusters.

    Args:
        values: (n,) or (n, m); each column is a separate quantity.
        clusters: (n,) integers. If the rows are cluster means already, give each its own number.
        level: two-sided level, such as 0.95 for the 2.5% and 97.5% limits.
        draws, seed: resamples and their seed.

    Returns:
        Arrays of shape () or (m,). For a constant column, the estimate and both limits are exactly its value.

    Raises:
        AnalysisError: there are NaN or infinite values or fewer than two clusters, or the shapes do not match.
    """
    array = _checked(values, "values")
    found = _interval(array, np.ones_like(array), _divide, clusters, level, draws, seed)
    # A mean never leaves the range of its values, but rounding in the sums can, and a share must not be 1 + 1e-16.
    bottom, top = array.min(axis=0), array.max(axis=0)
    parts = [np.asarray(np.clip(part, bottom, top)) for part in (found.estimate, found.low, found.high)]
    return Interval(parts[0], parts[1], parts[2], found.corrected)


def ratio_interval(
    numerator: npt.ArrayLike,
    denominator: npt.ArrayLike,
    clusters: npt.ArrayLike,
    level: float = 0.95,
    draws: int = METHOD.bootstrap_draws,
    seed: int = 0,
) -> Interval:
    """A ratio of sums, sum(numerator) / sum(denominator), with its BCa interval over clusters.

    If the denominator's sign is not certain at this level (more than (1 - level) / 2 of the draws have another
    sign, or zero), no finite interval has the level (Fieller 1954), and the limits are -inf and +inf.

    Args:
        numerator, denominator: (n,) or (n, m), of equal shapes; for the other arguments see `mean_interval`.

    Raises:
        AnalysisError: see `mean_interval`; or the denominator sums to zero.
    """
    top, bottom = _checked(numerator, "numerator"), _checked(denominator, "denominator")
    if top.shape != bottom.shape:
        raise AnalysisError(f"The ratio's parts have shapes {top.shape} and {bottom.shape}.")
    if np.any(bottom.sum(axis=0) == 0):
        raise AnalysisError("The ratio is undefined: its denominator sums to zero over all clusters.")
    return _interval(top, bottom, _divide, clusters, level, draws, seed)


def log_ratio_interval(
    a_target: npt.ArrayLike,
    a_base: npt.ArrayLike,
    epsilon: npt.ArrayLike,
    clusters: npt.ArrayLike,
    level: float = 0.90,
    draws: int = METHOD.bootstrap_draws,
    seed: int = 0,
) -> Interval:
    """lambda = log2((mean a_t + eps) / (mean a_b + eps)) with its interval over clusters (METHOD section 6).

    Args:
        a_target, a_base: (n,) or (n, m) activations of the two models per row, not negative.
        epsilon: number that is added to both means, > 0; a scalar or (m,).
        clusters, level, draws, seed: see `mean_interval`; METHOD uses the 90% interval here.

    Returns:
        Arrays of shape () or (m,); swapping the models flips every sign and swaps the limits.

    Raises:
        AnalysisError: see `mean_interval`; or an activation is negative, or an epsilon is not above zero.
    """
    top, bottom = _checked(a_target, "target activations"), _checked(a_base, "base activations")
    if top.shape != bottom.shape:
        raise AnalysisError(f"The two models' activations have shapes {top.shape} and {bottom.shape}.")
    add = _checked(np.broadcast_to(np.asarray(epsilon, dtype=np.float64), top.shape), "epsilon")
    if np.any(top < 0) or np.any(bottom < 0) or np.any(add <= 0):
        raise AnalysisError("A log ratio needs activations that are not negative and an epsilon above zero.")
    return _interval(top + add, bottom + add, _log2_ratio, clusters, level, draws, seed)


def _interval(
    top: Floats,
    bottom: Floats,
    combine: Combine,
    clusters: npt.ArrayLike,
    level: float,
    draws: int,
    seed: int,
) -> Interval:
    """BCa for combine(sum top, sum bottom), one block of columns at a time."""
    if not 0 < level < 1:
        raise AnalysisError(f"The level of an interval must be between 0 and 1, not {level}.")
    if draws < 1:
        raise AnalysisError(f"A bootstrap needs at least one draw, not {draws}.")
    index, k = _cluster_index(clusters)
    n = len(index)
    if top.shape[0] != n:
        raise AnalysisError(f"There are {top.shape[0]} rows of values and {n} rows of clusters.")
    if k < 2:
        raise AnalysisError("An interval over clusters needs at least two clusters of prompts.")
    shape = top.shape[1:]
    columns = math.prod(shape)
    top, bottom = top.reshape(n, columns), bottom.reshape(n, columns)
    counts = cluster_counts(k, draws, seed)
    estimate, low, high = (np.empty(top.shape[1]) for _ in range(3))
    corrected = np.zeros(top.shape[1], dtype=bool)
    for start in range(0, top.shape[1], _COLUMNS):
        block = slice(start, start + _COLUMNS)
        parts = _block(top[:, block], bottom[:, block], combine, index, counts, level)
        estimate[block], low[block], high[block], corrected[block] = parts
    return Interval(
        estimate.reshape(shape), low.reshape(shape), high.reshape(shape), corrected.reshape(shape)
    )


def _block(
    top: Floats, bottom: Floats, combine: Combine, index: npt.NDArray[np.intp], counts: Floats, level: float
) -> tuple[Floats, Floats, Floats, Bools]:
    sum_top, sum_bottom = (
        _by_cluster(top, index, counts.shape[1]),
        _by_cluster(bottom, index, counts.shape[1]),
    )
    all_top, all_bottom = sum_top.sum(axis=0), sum_bottom.sum(axis=0)
    drawn_bottom = counts @ sum_bottom
    estimate = combine(all_top, all_bottom)
    replicates = combine(counts @ sum_top, drawn_bottom)  # (draws, m)
    # Without one dominant cluster the rest may be 0; bca_limits handles values that are not finite.
    with np.errstate(all="ignore"):
        jackknife = combine(all_top - sum_top, all_bottom - sum_bottom)  # (k, m)
    low, high, corrected = bca_limits(estimate, replicates, jackknife, level)
    # If all rows are equal, rounding in the sums must not create a width.
    constant = np.all((top == top[:1]) & (bottom == bottom[:1]), axis=0)
    if constant.any():
        value = combine(top[0, constant], bottom[0, constant])
        estimate[constant] = low[constant] = high[constant] = value
        corrected[constant] = False
    crossing = np.mean(drawn_bottom * np.sign(all_bottom) <= 0, axis=0)
    unbounded = (crossing > (1 - level) / 2) & ~constant
    low[unbounded], high[unbounded], corrected[unbounded] = -np.inf, np.inf, False
    return estimate, low, high, corrected


def bca_limits(
    estimate: Floats, replicates: Floats, jackknife: Floats, level: float
) -> tuple[Floats, Floats, Bools]:
    """BCa limits from given replicates (Efron 1987, equations 2.3 and 6.6), or percentile limits if undefined.

    Args:
        estimate: (m,) the statistic on all data.
        replicates: (draws, m) the statistic on the resamples; may hold +-inf, not NaN.
        jackknife: (k, m) the statistic without cluster k.
        level: two-sided level.

    Returns:
        low (m,), high (m,), corrected (m,). `corrected` is false where the plain percentile interval was used,
        because all draws are on one side of the estimate (infinite bias correction), the jackknife has no
        variation or is not finite (no acceleration), or the acceleration is outside the formula's range.
    """
    ordered = np.sort(replicates, axis=0)
    # The upper limit is the lower limit of the negated numbers, so swapping the models mirrors it to the last bit.
    below = _lower_share(estimate, ordered, jackknife, level)
    above = _lower_share(-estimate, -ordered, -jackknife, level)
    corrected = np.isfinite(below) & np.isfinite(above)
    plain = (1 - level) / 2
    low = _quantile(ordered, np.where(corrected, below, plain))
    high = 0.0 - _quantile(-ordered[::-1], np.where(corrected, above, plain))
    return low, high, corrected


def _lower_share(estimate: Floats, replicates: Floats, jackknife: Floats, level: float) -> Floats:
    """The share of the replicates below the lower limit; NaN if the formula gives none."""
    # Ties count half on each side, so the sign of the data does not matter.
    below = np.mean(replicates < estimate, axis=0) + 0.5 * np.mean(replicates == estimate, axis=0)
    bias = special.ndtri(below)
    with np.errstate(all="ignore"):
        influence = jackknife.mean(axis=0) - jackknife
        spread = (influence**2).sum(axis=0) ** 1.5
        acceleration = (influence**3).sum(axis=0) / (6 * spread)
        limit = special.ndtri((1 - level) / 2) + bias
        stretch = 1 - acceleration * limit
        share = special.ndtr(bias + limit / stretch)
    defined = np.isfinite(bias) & np.isfinite(acceleration) & (stretch > 0)
    return np.where(defined, share, np.nan)


def _quantile(ordered: Floats, share: Floats) -> Floats:
    """The quantile of each sorted column at its own share, linear between neighbors."""
    rank = share * (ordered.shape[0] - 1)
    lower = np.floor(rank).astype(np.intp)
    upper = np.minimum(lower + 1, ordered.shape[0] - 1)
    columns = np.arange(ordered.shape[1])
    left, right = ordered[lower, columns], ordered[upper, columns]
    part = rank - lower
    # inf - inf would be NaN.
    safe = np.isfinite(left) & np.isfinite(right)
    result: Floats = np.where(part > 0, right, left)
    result[safe] = left[safe] + part[safe] * (right[safe] - left[safe])
    return result


def _by_cluster(values: Floats, index: npt.NDArray[np.intp], k: int) -> Floats:
    sums = np.zeros((k, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def _divide(top: Floats, bottom: Floats) -> Floats:
    """Elementwise ratio; a zero denominator gives an infinity with the numerator's sign."""
    zero = bottom == 0
    ratio: Floats = np.where(zero, np.where(top < 0, -np.inf, np.inf), top / np.where(zero, 1.0, bottom))
    return ratio


def _log2_ratio(top: Floats, bottom: Floats) -> Floats:
    difference: Floats = np.log2(top) - np.log2(bottom)
    return difference


@lru_cache(maxsize=16)
def cluster_counts(k: int, draws: int, seed: int) -> npt.NDArray[np.float64]:
    """(draws, k): how often each of k clusters was drawn with replacement; every row sums to k.

    Cached for the last few k, since all intervals of a run use the same counts; the array is read-only.
    """
    counts = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=draws).astype(np.float64)
    counts.flags.writeable = False
    return counts


def _cluster_index(clusters: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], int]:
    labels = np.asarray(clusters)
    if labels.ndim != 1 or labels.size == 0:
        raise AnalysisError(f"Clusters need one label per row, not an array of shape {labels.shape}.")
    unique, index = np.unique(labels, return_inverse=True)
    return index.astype(np.intp), len(unique)


def _checked(values: npt.ArrayLike, what: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[0] == 0:
        raise AnalysisError(f"The {what} must be (n,) or (n, m) with n > 0, not of shape {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise AnalysisError(f"The {what} hold NaN or infinite numbers.")
    return array
