"""What a dictionary's features do in each model: activations per unit, theta, floors, quality figures.

theta_ij = (a_ij^target - a_ij^base) / S_j, with S_j the root mean square of f_j over the firing tokens of both models
on D (METHOD section 3). It has no scale, and swapping the pair flips exactly its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from analyze.extraction import CLASSES, BoolArray, Extraction, FloatArray, IntArray
from analyze.features.categories import large_categories, largest_in_a_category
from analyze.features.encode import EncodedPair, encode_pair, mean_shift_share, missed_share
from analyze.features.floors import sham_floors
from analyze.features.latent_scaling import LatentScaling, latent_scaling
from fi_store.dictionaries import ORDER, Crosscoder, Dictionary
from fi_store.method import METHOD


@dataclass(frozen=True)
class Quality:
    """How well a dictionary reconstructs, by model and half; None if its kind has no such figure."""

    explained: Mapping[tuple[str, str], float | None]  # (reader, half) -> explained variance
    l0: Mapping[str, float]  # reader -> mean active latents per row
    dead_share: float  # share of latents that never fire on D in either model
    dark_matter: float | None  # share of ||target - base||^2 on C that is missed; None across widths
    mean_shift: float | None  # share of it that the mean shift of D, by position class, explains on C


@dataclass(frozen=True)
class LayerEffects:
    """The features of one dictionary (m latents) on one extraction (N rows, n units)."""

    site: str
    layer: int
    dictionary: Dictionary
    anchor: str  # the reader that is the dictionary's first model
    codes: Mapping[str, sp.csc_array]  # reader -> (N, m) float32; see `beside` and `_among_all`
    scale: FloatArray  # (m,) S_j; 1 where the latent never fires
    alive: BoolArray  # (m,)
    fires: Mapping[str, IntArray]  # reader -> (m,) firing rows on D
    means: Mapping[tuple[str, int], npt.NDArray[np.float32]]  # (reader, position class) -> (n, m) unit means
    candidate_floors: FloatArray  # (3,) per position class: what a feature must exceed to be a candidate
    floors: FloatArray  # (3,) per position class: what an effect must exceed
    scoped: FloatArray  # (3,) the same within some categories (`analyze.groups.scope`); never under `floors`
    quality: Quality
    scaling: LatentScaling | None = None  # for a crosscoder of models of one width, once C is open

    def theta(self, position_class: int) -> npt.NDArray[np.float32]:
        """(n, m) theta of every unit and latent in a position class."""
        return self.theta_between("base", "target", position_class)

    def theta_between(self, before: str, after: str, position_class: int) -> npt.NDArray[np.float32]:
        """(n, m) theta with two readers as base and target."""
        return scaled_difference(
            self.means[before, position_class], self.means[after, position_class], self.scale
        )

    @property
    def readers(self) -> tuple[str, str]:
        """Base and target in the dictionary's order."""
        return (self.anchor, "target" if self.anchor == "base" else "base")

    def side(self, reader: str) -> int:
        """The dictionary's side (0 or 1) of the base or the target."""
        return 0 if reader == self.anchor else 1

    def difference(self, latents: IntArray) -> FloatArray:
        """(N, len(latents)) token-level (f^target - f^base) / S."""
        delta = (self.codes["target"][:, latents] - self.codes["base"][:, latents]).toarray()
        return np.asarray(delta / self.scale[latents], dtype=np.float64)

    def activity(self, reader: str, latents: IntArray) -> FloatArray:
        """(N, len(latents)) token-level f / S of one reader."""
        return np.asarray(self.codes[reader][:, latents].toarray() / self.scale[latents], dtype=np.float64)


def measure_effects(
    extraction: Extraction,
    dictionary: Dictionary,
    activations: Mapping[str, torch.Tensor],
    anchor: str,
    minimum_floor: float,
) -> LayerEffects:
    """Reads every reader's rows through the dictionary and reduces them to units.

    `activations` maps each reader to the rows that it read, (R, d). `anchor` is the first model in canonical order, and
    the shams were built around it: a sham replaces the other model.
    """
    rows = extraction.rows
    other = "target" if anchor == "base" else "base"
    encoded = encode_pair(dictionary, (activations[anchor], activations[other]), rows.position_class)
    codes = {anchor: encoded.activity[0], other: encoded.activity[1]}
    for sham in extraction.shams:
        read = extraction.rows_read(sham)
        pair = activations[anchor][torch.from_numpy(read)], activations[sham]
        sides = ORDER if dictionary.coupled else (1,)
        with_sham = encode_pair(dictionary, pair, rows.position_class[read], sides)
        codes[sham] = _among_all(with_sham.activity[1], read, rows.n)
        codes[beside(anchor, sham)] = (
            _among_all(with_sham.activity[0], read, rows.n) if dictionary.coupled else codes[anchor]
        )
    on_d = sp.csr_array(rows.discovery.astype(np.float64)[None, :])
    fires = {reader: _row(on_d @ (codes[reader] > 0)).astype(np.int64) for reader in ("base", "target")}
    total = fires["base"] + fires["target"]
    squares = sum(_row(on_d @ codes[reader].power(2)) for reader in ("base", "target"))
    scale = np.sqrt(np.divide(squares, total, out=np.ones_like(squares), where=total > 0))
    alive = total >= METHOD.alive_tokens
    means = _unit_means(extraction, codes)

    def moved(sham: str, position_class: int) -> npt.NDArray[np.float32]:
        before, after = means[beside(anchor, sham), position_class], means[sham, position_class]
        return scaled_difference(before, after, scale)

    levels = sham_levels(moved, extraction.shams, extraction, alive, minimum_floor)
    return LayerEffects(
        site=dictionary.config.site,
        layer=dictionary.config.layer,
        dictionary=dictionary,
        anchor=anchor,
        codes=codes,
        scale=scale,
        alive=alive,
        fires=fires,
        means=means,
        candidate_floors=levels.candidate_floors,
        floors=levels.floors,
        scoped=levels.scoped,
        quality=_quality(extraction, encoded, activations, anchor, float((total == 0).mean())),
    )


class Levels(NamedTuple):
    """The floors that shams set, (3,) by position class; see `LayerEffects`."""

    candidate_floors: FloatArray
    floors: FloatArray
    scoped: FloatArray


def sham_levels(
    moved: Callable[[str, int], npt.NDArray[np.float32]],
    shams: Sequence[str],
    extraction: Extraction,
    alive: BoolArray,
    minimum: float,
) -> Levels:
    """The floors of one layer from some shams; `moved` gives a sham's theta (n, m) in a position class.

    If no category is large enough to be tested alone, the scoped floors equal the others.
    """
    discovery, classes = extraction.units.discovery, range(len(CLASSES))
    plain = sham_floors([[moved(sham, c)[discovery] for sham in shams] for c in classes], alive, minimum)
    large = large_categories(extraction)
    if not large:
        return Levels(plain.candidate_floors, plain.floors, plain.floors)
    within = [[largest_in_a_category(moved(sham, c), extraction, large) for sham in shams] for c in classes]
    scoped = sham_floors(within, alive, minimum)
    return Levels(plain.candidate_floors, plain.floors, np.maximum(plain.floors, scoped.floors))


def _among_all(codes: sp.csc_array, read: IntArray, n: int) -> sp.csc_array:
    """(n, m) codes of the rows `read` (R,), at their indices; 0 in all other rows, which a sham did not read."""
    return sp.csc_array((codes.data, read[codes.indices], codes.indptr), shape=(n, codes.shape[1]))


def _unit_means(
    extraction: Extraction, codes: Mapping[str, sp.csc_array]
) -> dict[tuple[str, int], npt.NDArray[np.float32]]:
    """(reader, position class) -> (n, m); readers that share an array in `codes` are averaged once."""
    means: dict[tuple[str, int], npt.NDArray[np.float32]] = {}
    for position_class in range(len(CLASSES)):
        weights = extraction.rows.unit_means(position_class, extraction.units.n)
        known: dict[int, npt.NDArray[np.float32]] = {}
        for reader, code in codes.items():
            if id(code) not in known:
                known[id(code)] = (weights @ code).toarray().astype(np.float32)
            means[reader, position_class] = known[id(code)]
    return means


def _quality(
    extraction: Extraction,
    encoded: EncodedPair,
    activations: Mapping[str, torch.Tensor],
    anchor: str,
    dead_share: float,
) -> Quality:
    rows = extraction.rows
    readers = (anchor, "target" if anchor == "base" else "base")
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
    rows: Mapping[tuple[str, int], torch.Tensor],
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


def beside(anchor: str, sham: str) -> str:
    """The name of the anchor as a reader beside a sham: a coupled dictionary gives it other codes there."""
    return f"{anchor} beside {sham}"


def scaled_difference(
    before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], scale: FloatArray
) -> npt.NDArray[np.float32]:
    """theta: (after - before) / S, unit means (n, m) and scales (m,)."""
    return np.asarray((after - before) / scale, dtype=np.float32)


def _row(product: sp.csr_array | sp.csc_array) -> FloatArray:
    return np.asarray(product.toarray()[0], dtype=np.float64)
