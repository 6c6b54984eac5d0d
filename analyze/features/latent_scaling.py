"""Latent scaling: how much of a crosscoder's latent is in each model, measured by regression on C (METHOD section 6).

A crosscoder may give a concept that both models have only one decoder ("complete shrinkage", "latent decoupling"):
Minder et al. (2025), "Robustly identifying concepts introduced during chat fine-tuning using crosscoders". So three
parts of each model are regressed on the latent's code along one direction d, the longer decoder: the reconstruction
error with the latent's own part put back (err), the reconstruction (rec) and the activations (act). beta = sum f <y, d>
/ (||d||^2 sum f^2), in each model's normalized units. nu is the other model's beta over the beta of the model with the
longer decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from analyze.extraction import CLASSES, FloatArray, IntArray
from analyze.shards import BLOCK, Vectors
from analyze.stats import bca_limits, cluster_counts, ratio_interval
from fi_store.dictionaries import ORDER, Crosscoder
from fi_store.method import METHOD

PARTS = ("err", "rec", "act")


@dataclass(frozen=True)
class ScalingSums:
    """Sums over k clusters for m latents; a model's beta is its part's total over the total of `squares`."""

    own: IntArray  # (m,) the side whose decoder is longer in raw units
    parts: dict[tuple[str, int], FloatArray]  # (part, side) -> (k, m) sum f <y, d>
    squares: FloatArray  # (k, m) ||d||^2 sum f^2
    fired: FloatArray  # (k, m) number of rows where the latent fires

    @cached_property
    def tokens(self) -> IntArray:
        """(m,) number of rows where the latent fires."""
        return np.asarray(self.fired.sum(axis=0), dtype=np.int64)

    @cached_property
    def clusters(self) -> IntArray:
        """(m,) number of clusters where it fires."""
        return np.asarray((self.fired > 0).sum(axis=0), dtype=np.int64)

    def beta(self, part: str, side: int) -> FloatArray:
        """(m,); 0 where the latent never fires."""
        total = self.squares.sum(axis=0)
        sums = self.parts[part, side].sum(axis=0)
        return np.asarray(np.divide(sums, total, out=np.zeros_like(total), where=total > 0))

    def by_side(self, part: str, *, own: bool) -> FloatArray:
        """(k, m) sums of the model with the longer decoder, or of the other one."""
        second = self.own if own else 1 - self.own
        return np.where(second == 1, self.parts[part, 1], self.parts[part, 0])


@dataclass(frozen=True)
class LatentScaling:
    """Latent scaling of one crosscoder; NaN where a figure is undefined."""

    sums: ScalingSums  # over all rows of C
    by_class: Mapping[
        int, ScalingSums
    ]  # `act` alone: over the rows of one position class, for the same clusters
    own_low: dict[str, FloatArray]  # err, rec -> (m,) lower 95% limit of the own beta
    nu: dict[str, npt.NDArray[np.float64]]  # err, rec -> (3, m) estimate and 95% limits

    def specific(self, latent: int) -> bool:
        """Whether the latent is one model's alone: |nu| is known and small for error and reconstruction."""
        return bool(
            abs(self.nu["err"][0, latent]) < METHOD.scaling_nu_error
            and abs(self.nu["rec"][0, latent]) < METHOD.scaling_nu_reconstruction
        )


def latent_scaling(
    dictionary: Crosscoder,
    rows: tuple[Vectors, Vectors],
    chosen: IntArray,
    classes: IntArray,
    clusters: IntArray,
    seed: int,
) -> LatentScaling:
    """Scaling of every latent over the `chosen` rows (c,) of C, ascending.

    `rows` (N, d) of both models are in canonical order, `classes` (N,) their position classes, and `clusters` (c,) what
    intervals resample. nu is known if the latent fires often enough and the lower limit of the own beta exceeds its
    minimum.
    """
    by_class = scaling_sums(dictionary, rows, chosen, classes, clusters)
    sums = _added(list(by_class.values()))
    k, m = sums.squares.shape
    enough = (sums.tokens >= METHOD.scaling_tokens) & (sums.clusters >= METHOD.scaling_clusters)
    own_low, nu = {}, {}
    for part in ("err", "rec"):
        own_low[part], nu[part] = np.full(m, np.nan), np.full((3, m), np.nan)
        own, other = sums.by_side(part, own=True), sums.by_side(part, own=False)
        known = np.flatnonzero(enough)
        if k < 2 or len(known) == 0:
            continue
        beta = ratio_interval(own[:, known], sums.squares[:, known], np.arange(k), seed=seed)
        own_low[part][known] = beta.low
        known = known[beta.low > METHOD.scaling_own_low]
        if len(known):
            ratio = ratio_interval(other[:, known], own[:, known], np.arange(k), seed=seed)
            nu[part][:, known] = np.stack([ratio.estimate, ratio.low, ratio.high])
    act_only = {
        position_class: replace(
            each, parts={key: values for key, values in each.parts.items() if key[0] == "act"}
        )
        for position_class, each in by_class.items()
    }
    return LatentScaling(sums, act_only, own_low, nu)


def scaling_sums(
    dictionary: Crosscoder,
    rows: tuple[Vectors, Vectors],
    chosen: IntArray,
    classes: IntArray,
    clusters: IntArray,
) -> dict[int, ScalingSums]:
    """The sums behind the betas by position class, each over all clusters. Both models must have the same width."""
    index = np.unique(clusters, return_inverse=True)[1]
    k, m = int(index.max()) + 1, dictionary.config.n_latents
    blocks = [dictionary.w_both[:, dictionary.part(side)] for side in ORDER]  # (m, d) each, normalized units
    norms = [
        block.norm(dim=1) * scale for block, scale in zip(blocks, dictionary.config.input_scales, strict=True)
    ]
    own = (norms[1] > norms[0]).long()
    direction = torch.where(own[:, None] == 1, blocks[1], blocks[0])
    put_back = [(block * direction).sum(dim=1) for block in blocks]
    weigh = direction.square().sum(dim=1).double().numpy()
    found: dict[int, ScalingSums] = {}
    for position_class in range(len(CLASSES)):
        inside = np.flatnonzero(classes[chosen] == position_class)
        parts = {(part, side): np.zeros((k, m)) for part in PARTS for side in ORDER}
        fired, squares = np.zeros((k, m)), np.zeros((k, m))
        for start in range(0, len(inside), BLOCK):
            at = inside[start : start + BLOCK]
            some = torch.from_numpy(chosen[at])
            x = dictionary.inputs((rows[0][some], rows[1][some]))
            f = dictionary.encode(x)
            gather = sp.csr_array((np.ones(len(at)), (index[at], np.arange(len(at)))), shape=(k, len(at)))
            squares += gather @ f.square().double().numpy()
            fired += gather @ (f > 0).double().numpy()
            for side in ORDER:
                centered = x[:, dictionary.part(side)] - dictionary.b_dec[dictionary.part(side)]
                values = {"act": centered @ direction.T, "rec": (f @ blocks[side]) @ direction.T}
                values["err"] = values["act"] - values["rec"] + f * put_back[side]
                for part, along in values.items():
                    parts[part, side] += gather @ (f * along).double().numpy()
        found[position_class] = ScalingSums(own.numpy(), parts, squares * weigh, fired)
    return found


def _added(sums: Sequence[ScalingSums]) -> ScalingSums:
    """The sums over all position classes."""
    if len(sums) == 1:
        return sums[0]
    parts = {key: np.sum([each.parts[key] for each in sums], axis=0) for key in sums[0].parts}
    squares, fired = (np.sum([getattr(each, name) for each in sums], axis=0) for name in ("squares", "fired"))
    return ScalingSums(sums[0].own, parts, squares, fired)


class Weighed(NamedTuple):
    """Some latents of a layer with their weights: the layer's sums and the input scales of its models."""

    sums: ScalingSums
    latents: IntArray
    weights: FloatArray
    scales: tuple[float, float]

    def along(self, side: int) -> FloatArray:
        """(k,) what each cluster adds to the weighted mean of the model's betas, in raw units."""
        part, squares = (each[:, self.latents] for each in (self.sums.parts["act", side], self.sums.squares))
        return np.asarray(part / np.maximum(squares.sum(axis=0), 1e-12) @ self.weights * self.scales[side])


def scaled_ratio(layers: Sequence[Weighed], level: float, seed: int) -> tuple[float, float, float]:
    """log2(|beta_act of the second model| / |beta_act of the first|) of a group, with its interval over clusters.

    `layers` has one entry per layer, over the same clusters. 1% of the betas' mean size is added to both sides, so the
    ratio of an absent feature stays finite.
    """
    first, second = (np.sum([each.along(side) for each in layers], axis=0)[:, None] for side in ORDER)
    epsilon = METHOD.ratio_epsilon * (abs(first.sum()) + abs(second.sum())) / 2 + 1e-12

    def ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
        return np.asarray(np.log2(np.abs(top) + epsilon) - np.log2(np.abs(bottom) + epsilon))

    counts = cluster_counts(len(first), METHOD.bootstrap_draws, seed)
    estimate = ratio(second.sum(axis=0), first.sum(axis=0))
    left_out = ratio(second.sum(axis=0) - second, first.sum(axis=0) - first)
    low, high, _ = bca_limits(estimate, ratio(counts @ second, counts @ first), left_out, level)
    return float(estimate[0]), float(low[0]), float(high[0])
