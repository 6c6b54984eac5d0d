"""How well a yes-or-no question separates two models' answers: log-odds with an informative prior, McNemar's test."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom

from analyze.extraction import FloatArray, IntArray


def log_odds(base: FloatArray, target: FloatArray) -> FloatArray:
    """z scores of k predicates: positive where the target's answers have them more often.

    `base`, `target` (n, k): the share of each cluster's answers for which the predicate holds, in [0, 1]. The log-odds
    ratio of the two rates, each smoothed by a Dirichlet prior of one cluster at their common rate, over its standard
    error (Monroe, Colaresi and Quinn 2008, "Fightin' Words", eq. 16-22, with all four cells of the variance: rates here
    are not small). It changes its sign when the models are swapped; 0 where a predicate always or never holds.
    """
    n = len(base)
    in_base, in_target = base.sum(axis=0), target.sum(axis=0)
    rate = (in_base + in_target) / (2 * n)
    mixed = (rate > 0) & (rate < 1)
    prior = np.where(mixed, rate, 0.5)
    cells = [in_target + prior, n - in_target + 1 - prior, in_base + prior, n - in_base + 1 - prior]
    ratio = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    # Summed model by model, so that swapped models give the same score to the last bit.
    variance = (1 / cells[0] + 1 / cells[1]) + (1 / cells[2] + 1 / cells[3])
    return np.where(mixed, ratio / np.sqrt(variance), 0.0)


def discordant(base: FloatArray, target: FloatArray) -> tuple[int, int]:
    """Clusters (n,) where the predicate holds more in the target's answers, and where more in the base's."""
    return int((target > base).sum()), int((base > target).sum())


def one_sided_p(ahead: int, behind: int) -> float:
    """P(at least `ahead` of the discordant clusters | each goes either way with probability 1/2): exact McNemar."""
    return float(one_sided_ps(np.asarray([ahead]), np.asarray([behind]))[0])


def one_sided_ps(ahead: IntArray, behind: IntArray) -> FloatArray:
    """(k,) the same for many predicates; 1 where nothing is discordant."""
    return np.where(ahead + behind > 0, binom.sf(ahead - 1, ahead + behind, 0.5), 1.0)


def smallest_testable(n_tests: int, alpha: float) -> int:
    """The fewest discordant clusters, all in one direction, that pass Holm's strictest step: 2^-k <= alpha / m."""
    return math.ceil(math.log2(max(1, n_tests) / alpha))
