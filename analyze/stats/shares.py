"""Shares of prompts and their paired differences: closed-form intervals and an exact test, over clusters.

Closed forms instead of bootstraps: where something never happens, a bootstrap interval has width zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from analyze.stats.significance import mcnemar

Floats = npt.NDArray[np.float64]

_Z = float(special.ndtri(0.975))


def share_interval(values: Floats, clusters: npt.NDArray[np.int64]) -> tuple[float, float]:
    """95% limits of the mean of values in [0, 1] over prompts whose clusters may be fully alike.

    Wilson's score interval (1927; Brown, Cai and DasGupta 2001) with n = `effective_number`. It holds because a
    variable between 0 and 1 varies at most as much as a yes or no with the same mean. With one prompt per cluster it is
    the ordinary Wilson interval.
    """
    n, p = effective_number(clusters), float(values.mean())
    center = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * float(np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)))
    # Exact at the ends, where rounding would give 1e-17 instead of 0.
    return 0.0 if p == 0 else center - half, 1.0 if p == 1 else center + half


def paired_interval(differences: Floats, clusters: npt.NDArray[np.int64]) -> tuple[float, float]:
    """95% limits of the mean of paired differences in [-1, 1] over prompts whose clusters may be fully alike.

    Bonett and Price's adjusted Wald interval (2012, JEBS 37:479-488) adds one to the discordant counts of each sign and
    two to n, so it keeps a width if the models never differ. n = `effective_number`; a cluster's mean difference counts
    as that share of a discordant pair.
    """
    n = effective_number(clusters)
    means, sizes = _cluster_means(differences, clusters)
    weights = sizes / sizes.sum()
    gained = (n * float(weights @ np.maximum(means, 0)) + 1) / (n + 2)
    lost = (n * float(weights @ np.maximum(-means, 0)) + 1) / (n + 2)
    half = _Z * float(np.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2)))
    return max(-1.0, gained - lost - half), min(1.0, gained - lost + half)


def paired_p(differences: Floats, clusters: npt.NDArray[np.int64]) -> float:
    """McNemar's exact two-sided p with clusters as pairs: which model was right more often on each, without ties."""
    means, _ = _cluster_means(differences, clusters)
    return mcnemar(means < 0, means > 0)


def effective_number(clusters: npt.NDArray[np.int64]) -> float:
    """How many independent prompts these clusters are worth: (sum m)^2 / sum m^2 (Kish 1965), with sizes m."""
    sizes = np.unique(clusters, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / np.square(sizes).sum())


def _cluster_means(values: Floats, clusters: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(k,) mean of each cluster, (k,) its size."""
    index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)[1:]
    return np.bincount(index, weights=values) / sizes, sizes.astype(np.float64)
