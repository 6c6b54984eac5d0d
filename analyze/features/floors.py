"""What targets without content reach (METHOD section 3): up to there nothing is a candidate, or is confirmed.

Two levels for each layer and position class. *Reach* is what a sham's features reach on average; a feature beyond it
is looked at. The *floor* is what a further sham would stay under nine times out of ten; an effect has to exceed it.
A test against the average alone confirmed something on 26 of 30 shams (bench/LOG.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from analyze.extraction import CLASSES, BoolArray, FloatArray
from fi_store.method import METHOD


@dataclass(frozen=True)
class Floors:
    """By position class."""

    reach: FloatArray  # (3,)
    floors: FloatArray  # (3,)


def sham_floors(
    thetas: Sequence[Sequence[npt.NDArray[np.float32]]], alive: BoolArray, minimum: float
) -> Floors:
    """Both levels of one layer from `thetas`: for each position class one (units of D, m) array per sham.

    Reach: max(minimum, mean over shams of the 99.9% quantile over alive features of |mean theta|); with fewer than
    1,000 alive features the maximum. Floor: max(minimum, upper 90% prediction limit of the largest |mean theta| of
    one more sham), on the scale of `bent`, where shams vary about alike whether they reach little or much: mean + z
    sigma sqrt(1 + 1/n), bent back. sigma is pooled over the position classes and drawn towards its usual size (a scaled
    inverse chi-square prior, as in Smyth 2004, "Linear models and empirical Bayes methods for assessing differential
    expression", section 3), which stands alone with one sham. With z in the place of Student's t the level is 88 to
    89% where that size is right. Where some shams exceed METHOD.floor_minimum the others count as reaching it, and
    only classes in which all do tell sigma. The floor is never under the reach. A sham has one strength for all
    classes, so their degrees of freedom are not quite their own.
    """
    smallest = Floors(np.full(len(CLASSES), minimum), np.full(len(CLASSES), minimum))
    if not alive.any() or not any(len(shams) for shams in thetas):
        return smallest
    means = [
        np.abs([theta[:, alive].mean(axis=0) for theta in shams]) for shams in thetas
    ]  # per class (shams, alive)
    level = METHOD.floor_quantile if alive.sum() >= METHOD.floor_quantile_needs else 1.0
    reach = np.asarray([np.quantile(each, level, axis=1).mean() for each in means], dtype=np.float64)
    largest = np.asarray([each.max(axis=1) for each in means], dtype=np.float64)  # (3, shams)
    # Under the smallest of all floors sizes are all alike beside larger ones, and say nothing about how shams vary.
    above = largest > METHOD.floor_minimum
    least = np.where(above.any(axis=1), METHOD.floor_minimum, np.finfo(np.float64).tiny)
    sizes = bent(np.maximum(largest, least[:, None]))
    center, n = sizes.mean(axis=1), largest.shape[1]
    told = above.all(axis=1)
    squares = float(np.square(sizes - center[:, None])[told].sum())
    weight = METHOD.sham_spread_weight
    spread = math.sqrt((weight * METHOD.sham_spread**2 + squares) / (weight + told.sum() * (n - 1)))
    limit = unbent(center + NormalDist().inv_cdf(METHOD.floor_level) * spread * math.sqrt(1 + 1 / n))
    # Where shams differ by orders of size, their mean can exceed the limit, which is about their geometric mean.
    return Floors(np.maximum(minimum, reach), np.maximum(minimum, np.maximum(reach, limit)))


def bent(sizes: FloatArray) -> FloatArray:
    """log(exp(b m) - 1) of sizes m > 0, b = METHOD.sham_bend: logarithmic for small sizes, linear for large ones.

    theta is in units of a feature's own size and saturates: a feature that is silent in one model and on in the
    other, prompt after prompt, has about 1. So shams that reach much cannot differ by the factors by which shams
    that reach little do (bench/LOG.md).
    """
    scaled = METHOD.sham_bend * np.asarray(sizes, dtype=np.float64)
    return np.asarray(scaled + np.log(-np.expm1(-scaled)))


def unbent(values: FloatArray) -> FloatArray:
    """The sizes again."""
    return np.asarray(np.logaddexp(0.0, values) / METHOD.sham_bend)
