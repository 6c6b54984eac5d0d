"""What a dictionary's features do in each model: activity per unit, theta, attribution, quality figures.

theta_ij = (a_ij^target - a_ij^base) / S_j, with S_j the root mean square of f_j over the firing tokens of both models
on D. It has no scale, and swapping the pair flips exactly its sign. Attribution says how many nats of the gap a
feature's difference carries (METHOD section 3); swapping the pair does not change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from analyze.extraction import CLASSES, BoolArray, Extraction, FloatArray, IntArray
from analyze.features.encode import EncodedPair, encode_pair, mean_shift_share, missed_share
from analyze.features.latent_scaling import LatentScaling, latent_scaling
from analyze.fit import BLOCK
from fi_store.dictionaries import Crosscoder, Dictionary
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True)
class Quality:
    """How well a dictionary reconstructs, by model and half; None if its kind has no such figure."""

    explained: Mapping[tuple[Side, str], float | None]  # (reader, half) -> explained variance
    l0: Mapping[Side, float]  # reader -> mean active latents per row
    dead_share: float  # share of latents that never fire on D in either model
    dark_matter: float | None  # share of ||target - base||^2 on C that is missed; None across widths
    mean_shift: float | None  # share of it that the mean shift of D, by position class, explains on C


@dataclass(frozen=True)
class LayerEffects:
    """The features of one dictionary (m latents) on one extraction (N rows, n units)."""

    site: str
    layer: int
    dictionary: Dictionary
    anchor: Side  # the dictionary's first model
    codes: Mapping[Side, sp.csc_array]  # (N, m) float32
    scale: FloatArray  # (m,) S_j; 1 where the latent never fires
    alive: BoolArray  # (m,)
    fires: Mapping[Side, IntArray]  # (m,) firing rows on D
    means: Mapping[tuple[Side, int], npt.NDArray[np.float32]]  # (side, position class) -> (n, m) unit means
    quality: Quality
    attribution: (
        sp.csc_array | None
    )  # (N, m) nats of each row and latent; None without gradients or across widths
    scaling: LatentScaling | None = None  # for a crosscoder of models of one width, once C is open

    def theta(self, position_class: int) -> npt.NDArray[np.float32]:
        """(n, m) theta of every unit and latent in a position class."""
        means = self.means
        return scaled_difference(means["base", position_class], means["target", position_class], self.scale)

    @property
    def readers(self) -> tuple[Side, Side]:
        """Base and target in the dictionary's order."""
        return (self.anchor, other_side(self.anchor))

    def side(self, reader: Side) -> int:
        """The dictionary's side (0 or 1) of the base or the target."""
        return 0 if reader == self.anchor else 1

    @property
    def directions(self) -> torch.Tensor:
        """(m, d) raw units: what activity 1 of a latent adds to the activations of either model."""
        return self.dictionary.w_dec * self.dictionary.config.scale

    def moved(self, latents: IntArray) -> FloatArray:
        """(N, len(latents)) token-level f^target - f^base, in units of the dictionary's scale."""
        delta = (self.codes["target"][:, latents] - self.codes["base"][:, latents]).toarray()
        return np.asarray(delta, dtype=np.float64)

    def activity(self, reader: Side, latents: IntArray) -> FloatArray:
        """(N, len(latents)) token-level f / S of one reader."""
        return np.asarray(self.codes[reader][:, latents].toarray() / self.scale[latents], dtype=np.float64)


def other_side(side: Side) -> Side:
    return "target" if side == "base" else "base"


def measure_effects(
    extraction: Extraction,
    dictionary: Dictionary,
    activations: Mapping[Side, torch.Tensor],
    anchor: Side,
) -> LayerEffects:
    """Encodes both models' rows (N, d) with the dictionary, whose first model is the `anchor`, and sums up by unit."""
    rows = extraction.rows
    other = other_side(anchor)
    encoded = encode_pair(dictionary, (activations[anchor], activations[other]), rows.position_class)
    codes: dict[Side, sp.csc_array] = {anchor: encoded.activity[0], other: encoded.activity[1]}
    on_d = sp.csr_array(rows.discovery.astype(np.float64)[None, :])
    fires: dict[Side, IntArray] = {side: _row(on_d @ (codes[side] > 0)).astype(np.int64) for side in SIDES}
    total = fires["base"] + fires["target"]
    squares = sum(_row(on_d @ codes[side].power(2)) for side in SIDES)
    scale = np.sqrt(np.divide(squares, total, out=np.ones_like(squares), where=total > 0))
    return LayerEffects(
        site=dictionary.config.site,
        layer=dictionary.config.layer,
        dictionary=dictionary,
        anchor=anchor,
        codes=codes,
        scale=scale,
        alive=total >= METHOD.alive_tokens,
        fires=fires,
        means=_unit_means(extraction, codes),
        quality=_quality(extraction, encoded, activations, anchor, float((total == 0).mean())),
        attribution=_attribution(extraction, dictionary, codes),
    )


def gap_slopes(extraction: Extraction, site: str, layer: int) -> torch.Tensor:
    """(N, d) float32: what a step of either model's activations towards the target's adds to the gap, half of each.

    (grad A_t(h_t) - grad A_b(h_b)) / 2, so that its product with a difference is its attribution in nats.
    """
    target, base = (extraction.gradients(side, site, layer).to(torch.float32) for side in ("target", "base"))
    return (target - base) / 2


def _attribution(
    extraction: Extraction, dictionary: Dictionary, codes: Mapping[Side, sp.csc_array]
) -> sp.csc_array | None:
    """(N, m) <slope, (f^target - f^base) s u> of every row and latent."""
    config = dictionary.config
    if not config.same_width or not extraction.has_gradients(config.site, config.layer):
        return None
    slopes = gap_slopes(extraction, config.site, config.layer)
    directions = dictionary.w_dec * config.scale
    moved = sp.csr_array(codes["target"] - codes["base"])
    parts = []
    for start in range(0, len(slopes), BLOCK):
        along = slopes[start : start + BLOCK] @ directions.T  # (block, m)
        parts.append(sp.csr_array(moved[start : start + BLOCK].multiply(along.numpy())))
    return sp.csc_array(sp.vstack(parts))


def _unit_means(
    extraction: Extraction, codes: Mapping[Side, sp.csc_array]
) -> dict[tuple[Side, int], npt.NDArray[np.float32]]:
    """(side, position class) -> (n, m)."""
    means: dict[tuple[Side, int], npt.NDArray[np.float32]] = {}
    for position_class in range(len(CLASSES)):
        weights = extraction.rows.unit_means(position_class, extraction.units.n)
        for side, code in codes.items():
            means[side, position_class] = (weights @ code).toarray().astype(np.float32)
    return means


def _quality(
    extraction: Extraction,
    encoded: EncodedPair,
    activations: Mapping[Side, torch.Tensor],
    anchor: Side,
    dead_share: float,
) -> Quality:
    rows = extraction.rows
    readers = (anchor, other_side(anchor))
    pair = activations[readers[0]], activations[readers[1]]
    halves = (("D", rows.discovery & rows.own), ("C", ~rows.discovery & rows.own))
    return Quality(
        explained={
            (reader, half): encoded.explained(side, pair[side], chosen)
            for side, reader in enumerate(readers)
            for half, chosen in halves
        },
        l0={reader: encoded.activity[side].nnz / rows.n for side, reader in enumerate(readers)},
        dead_share=dead_share,
        dark_matter=missed_share(encoded, pair, halves[1][1]),
        mean_shift=mean_shift_share(pair, rows.position_class, rows.discovery, halves[1][1]),
    )


def layers_with_scaling(
    layers: Sequence[LayerEffects],
    rows: Mapping[tuple[Side, int], torch.Tensor],
    extraction: Extraction,
    seed: int,
) -> list[LayerEffects]:
    """The layers with their latent scaling. `rows`: (base or target, index of the layer) -> (N, d) activations."""
    scaled = []
    for index, effects in enumerate(layers):
        first, second = effects.readers
        scaled.append(with_scaling(effects, extraction, (rows[first, index], rows[second, index]), seed))
    return scaled


def with_scaling(
    effects: LayerEffects, extraction: Extraction, pair: tuple[torch.Tensor, torch.Tensor], seed: int
) -> LayerEffects:
    """The layer with its latent scaling on C; unchanged unless the dictionary is a crosscoder of models of one width.

    `pair`: all rows (N, d) of both models in canonical order.
    """
    dictionary = effects.dictionary
    if not isinstance(dictionary, Crosscoder) or not dictionary.config.same_width:
        return effects
    chosen = np.flatnonzero(~extraction.rows.discovery & extraction.rows.own)
    clusters = extraction.units.clusters[extraction.rows.unit[chosen]]
    index = torch.from_numpy(chosen)
    classes = extraction.rows.position_class[chosen]
    measured = latent_scaling(dictionary, (pair[0][index], pair[1][index]), classes, clusters, seed)
    return replace(effects, scaling=measured)


def scaled_difference(
    before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], scale: FloatArray
) -> npt.NDArray[np.float32]:
    """theta: (after - before) / S, unit means (n, m) and scales (m,)."""
    return np.asarray((after - before) / scale, dtype=np.float32)


def _row(product: sp.csr_array | sp.csc_array) -> FloatArray:
    return np.asarray(product.toarray()[0], dtype=np.float64)
