"""Floors from targets without content (METHOD section 3): what a candidate and a confirmed effect must exceed.

There are two for each layer and position class. The *candidate floor* is how large a sham's features get on average.
The *floor* is what one more sham would stay under nine times out of ten; an effect has to exceed it. A test against the
average alone confirmed something on 26 of 30 shams (bench/LOG.md).
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

    candidate_floors: FloatArray  # (3,)
    floors: FloatArray  # (3,)


def sham_floors(
    thetas: Sequence[Sequence[npt.NDArray[np.float32]]], alive: BoolArray, minimum: float
) -> Floors:
    """Both floors of one layer from `thetas`: for each position class one (units of D, m) array per sham.

    Candidate floor: max(minimum, mean over shams of the 99.9% quantile over alive features of |mean theta|); with fewer
    than 1,000 alive features, the maximum instead of the quantile. Floor: max(minimum, upper 90% prediction limit of
    the largest |mean theta| of one more sham). The limit is mean + z sigma sqrt(1 + 1/n) on the scale of
    `inverse_softplus`, where weak and strong shams vary about alike. sigma is pooled over the position classes and
    shrunk towards its usual size (a scaled inverse chi-square prior, as in Smyth 2004, "Linear models and empirical
    Bayes methods for assessing differential expression", section 3), which is all there is with one sham. With z
    instead of Student's t the level is 88 to 89% if that size is right. If some shams exceed METHOD.floor_minimum, the
    others are raised to it, and only classes in which all exceed it inform sigma. The floor is never under the
    candidate floor. A sham has one strength for all classes, so the classes' degrees of freedom are not quite
    independent.
    """
    smallest = Floors(np.full(len(CLASSES), minimum), np.full(len(CLASSES), minimum))
    if not alive.any() or not any(len(shams) for shams in thetas):
        return smallest
    # Per class: (shams, alive).
    means = [np.abs([theta[:, alive].mean(axis=0) for theta in shams]) for shams in thetas]
    level = METHOD.floor_quantile if alive.sum() >= METHOD.floor_quantile_needs else 1.0
    usual = np.asarray([np.quantile(each, level, axis=1).mean() for each in means], dtype=np.float64)
    largest = np.asarray([each.max(axis=1) for each in means], dtype=np.float64)  # (3, shams)
    # Sizes under the smallest possible floor say nothing about how shams vary.
    above = largest > METHOD.floor_minimum
    least = np.where(above.any(axis=1), METHOD.floor_minimum, np.finfo(np.float64).tiny)
    sizes = inverse_softplus(np.maximum(largest, least[:, None]))
    center, n = sizes.mean(axis=1), largest.shape[1]
    informative = above.all(axis=1)
    squares = float(np.square(sizes - center[:, None])[informative].sum())
    weight = METHOD.sham_spread_weight
    spread = math.sqrt((weight * METHOD.sham_spread**2 + squares) / (weight + informative.sum() * (n - 1)))
    limit = softplus(center + NormalDist().inv_cdf(METHOD.floor_level) * spread * math.sqrt(1 + 1 / n))
    # If shams differ by orders of magnitude, their mean can exceed the limit, which is near their geometric mean.
    return Floors(np.maximum(minimum, usual), np.maximum(minimum, np.maximum(usual, limit)))


def inverse_softplus(sizes: FloatArray) -> FloatArray:
    """log(exp(b m) - 1) of sizes m > 0, b = METHOD.sham_sharpness: logarithmic for small sizes, linear for large ones.

    theta is in units of a feature's own size and saturates: a feature that is silent in one model and active in the
    other, prompt after prompt, has about 1. So strong shams cannot differ by the same factors as weak ones
    (bench/LOG.md).
    """
    scaled = METHOD.sham_sharpness * np.asarray(sizes, dtype=np.float64)
    return np.asarray(scaled + np.log(-np.expm1(-scaled)))


def softplus(values: FloatArray) -> FloatArray:
    """The sizes that `inverse_softplus` maps to these values."""
    return np.asarray(np.logaddexp(0.0, values) / METHOD.sham_sharpness)
