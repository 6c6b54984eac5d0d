"""What a dictionary's features do in each model: activity per unit, theta, attribution, quality figures.

theta_ij = (a_ij^target - a_ij^base) / S_j, with S_j the root mean square of f_j over the firing tokens of both models
on D. It has no scale, and swapping the pair flips exactly its sign. Attribution says how many nats of the gap a
feature's difference carries (METHOD section 3); swapping the pair does not change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from analyze.extraction import CLASSES, BoolArray, Extraction, FloatArray, IntArray
from analyze.features.latent_scaling import LatentScaling, latent_scaling
from analyze.features.quality import Quality, QualitySums
from analyze.scratch import StoredArray, StoredColumns
from analyze.shards import BLOCK, Vectors
from fi_store.dictionaries import Crosscoder, Dictionary
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side

Stored32 = npt.NDArray[np.float32] | StoredArray[np.float32]
"""An array in memory or on disk; both are read by a slice or by ascending row numbers."""
K = TypeVar("K")
V = TypeVar("V", bound=np.generic)


@dataclass(frozen=True)
class Attributed:
    """Nats of the gap that pass through each of m latents."""

    at_rows: StoredColumns  # (N, m)
    of_units: Mapping[
        int, FloatArray | StoredArray[np.float64]
    ]  # position class -> (n, m) sums over a unit's rows


@dataclass(frozen=True)
class LayerEffects:
    """The features of one dictionary (m latents) on one extraction (N rows, n units)."""

    site: str
    layer: int
    dictionary: Dictionary
    anchor: Side  # the dictionary's first model
    codes: Mapping[Side, StoredColumns]  # (N, m)
    scale: FloatArray  # (m,) S_j; 1 where the latent never fires
    alive: BoolArray  # (m,)
    fires: Mapping[Side, IntArray]  # (m,) firing rows on D
    means: Mapping[tuple[Side, int], Stored32]  # (side, position class) -> (n, m) unit means
    quality: Quality
    attribution: Attributed | None  # None without gradients or across widths
    scaling: LatentScaling | None = None  # for a crosscoder of models of one width, once C is open

    def theta(self, position_class: int) -> npt.NDArray[np.float32]:
        """(n, m) theta of every unit and latent in a position class."""
        base, target = (self.means[side, position_class][:] for side in SIDES)
        return scaled_difference(base, target, self.scale)

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

    def moved(self, latents: IntArray) -> sp.csc_array:
        """(N, len(latents)) float32 token-level f^target - f^base, in units of the dictionary's scale."""
        moved = sp.csc_array(self.codes["target"][:, latents] - self.codes["base"][:, latents])
        moved.eliminate_zeros()
        return moved

    def activity(self, reader: Side, latents: IntArray, weights: FloatArray) -> FloatArray:
        """(N,) token-level f / S of one reader, summed over latents with their weights (len(latents),)."""
        return np.asarray(self.codes[reader][:, latents] @ (weights / self.scale[latents]), dtype=np.float64)


def other_side(side: Side) -> Side:
    return "target" if side == "base" else "base"


def measure_effects(
    extraction: Extraction,
    dictionary: Dictionary,
    activations: Mapping[Side, Vectors],
    anchor: Side,
) -> LayerEffects:
    """Encodes both models' rows (N, d) with the dictionary, whose first model is the `anchor`, and sums up by unit.

    Rows are encoded block by block; what fires in them goes to disk.
    """
    rows, config = extraction.rows, dictionary.config
    readers = (anchor, other_side(anchor))
    codes = {side: StoredColumns(config.n_latents, extraction.scratch) for side in SIDES}
    sums, quality = _Sums(extraction, config.n_latents), QualitySums()
    slopes = attributed = None
    if config.same_width and extraction.has_gradients(config.site, config.layer):
        slopes = GapSlopes(extraction, config.site, config.layer)
        attributed = StoredColumns(config.n_latents, extraction.scratch)
    directions = (dictionary.w_dec * config.scale).T
    for start in range(0, rows.n, BLOCK):
        at = slice(start, start + BLOCK)
        pair = activations[readers[0]][at], activations[readers[1]][at]
        classes = rows.position_class[at]
        encoded = dictionary.encode_pair(pair, torch.from_numpy(classes.astype(np.int64)))
        quality.add(pair, encoded, classes, rows.discovery[at], rows.own[at])
        block = {reader: sp.csr_array(encoded.activity[side].numpy()) for side, reader in enumerate(readers)}
        for side, code in block.items():
            codes[side].append(code)
            sums.add_activity(side, at, code)
        if slopes is not None and attributed is not None:
            along = (slopes[at] @ directions).numpy()  # (block, m)
            nats = sp.csr_array((block["target"] - block["base"]).multiply(along))
            attributed.append(nats)
            sums.add_attribution(at, nats)
    total = sums.fires["base"] + sums.fires["target"]
    return LayerEffects(
        site=config.site,
        layer=config.layer,
        dictionary=dictionary,
        anchor=anchor,
        codes=codes,
        scale=np.sqrt(np.divide(sums.squares, total, out=np.ones_like(sums.squares), where=total > 0)),
        alive=total >= METHOD.alive_tokens,
        fires=sums.fires,
        means=_stored(sums.means, extraction),
        quality=Quality(
            explained={
                (reader, half): quality.explained(side, half == "D")
                for side, reader in enumerate(readers)
                for half in ("D", "C")
            },
            l0={side: sums.entries[side] / rows.n for side in SIDES},
            dead_share=float((total == 0).mean()),
            dark_matter=quality.dark_matter(),
            mean_shift=quality.mean_shift(),
        ),
        attribution=Attributed(attributed, _stored(sums.attributed, extraction)) if attributed else None,
    )


def _stored(arrays: Mapping[K, npt.NDArray[V]], extraction: Extraction) -> dict[K, StoredArray[V]]:
    """The same arrays on disk."""
    return {key: StoredArray(array, extraction.scratch) for key, array in arrays.items()}


class GapSlopes:
    """(N, d) float32: what a step of either model's activations towards the target's adds to the gap, half of each.

    (grad A_t(h_t) - grad A_b(h_b)) / 2, so that its product with a difference is its attribution in nats.
    """

    def __init__(self, extraction: Extraction, site: str, layer: int) -> None:
        self._target, self._base = (extraction.gradients(side, site, layer) for side in ("target", "base"))

    def __getitem__(self, rows: slice) -> torch.Tensor:
        return (self._target[rows].to(torch.float32) - self._base[rows].to(torch.float32)) / 2


class _Sums:
    """What is summed up of a dictionary's m latents while blocks of rows pass."""

    def __init__(self, extraction: Extraction, m: int) -> None:
        self.rows, self.shape = extraction.rows, (extraction.units.n, m)
        self.weights = self.rows.unit_weights(extraction.units.n)
        self.fires: dict[Side, IntArray] = {side: np.zeros(m, dtype=np.int64) for side in SIDES}  # on D
        self.entries: dict[Side, int] = dict.fromkeys(SIDES, 0)
        self.squares = np.zeros(m)  # of both models, on D
        self.means: dict[tuple[Side, int], npt.NDArray[np.float32]] = {
            (side, position_class): np.zeros(self.shape, dtype=np.float32)
            for position_class in range(len(CLASSES))
            for side in SIDES
        }
        self.attributed: dict[int, FloatArray] = {}

    def add_activity(self, side: Side, at: slice, code: sp.csr_array) -> None:
        """Adds a block's activities (block, m)."""
        on_d = code[np.flatnonzero(self.rows.discovery[at])]
        m = self.shape[1]
        self.fires[side] += np.bincount(on_d.indices, minlength=m)
        self.squares += np.bincount(on_d.indices, weights=np.square(on_d.data, dtype=np.float64), minlength=m)
        self.entries[side] += code.nnz
        for position_class in range(len(CLASSES)):
            self._add(self.means[side, position_class], position_class, at, code, self.weights[at])

    def add_attribution(self, at: slice, nats: sp.csr_array) -> None:
        """Adds a block's attribution (block, m)."""
        own = self.rows.own[at].astype(np.float64)
        for position_class in range(len(CLASSES)):
            into = self.attributed.setdefault(position_class, np.zeros(self.shape))
            self._add(into, position_class, at, nats, own)

    def _add(
        self, into: npt.NDArray[Any], position_class: int, at: slice, block: sp.csr_array, weights: FloatArray
    ) -> None:
        """Adds the weighted rows of one position class to those of their units (n, m)."""
        chosen = np.flatnonzero((self.rows.position_class[at] == position_class) & (weights > 0))
        units, local = np.unique(self.rows.unit[at][chosen], return_inverse=True)
        gather = sp.csr_array((weights[chosen], (local, chosen)), shape=(len(units), block.shape[0]))
        into[units] += (gather @ block).toarray()


def layers_with_scaling(
    layers: Sequence[LayerEffects],
    rows: Mapping[tuple[Side, int], Vectors],
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
    effects: LayerEffects, extraction: Extraction, pair: tuple[Vectors, Vectors], seed: int
) -> LayerEffects:
    """The layer with its latent scaling on C; unchanged unless the dictionary is a crosscoder of models of one width.

    `pair`: all rows (N, d) of both models in canonical order.
    """
    dictionary = effects.dictionary
    if not isinstance(dictionary, Crosscoder) or not dictionary.config.same_width:
        return effects
    chosen = np.flatnonzero(~extraction.rows.discovery & extraction.rows.own)
    clusters = extraction.units.clusters[extraction.rows.unit[chosen]]
    measured = latent_scaling(dictionary, pair, chosen, extraction.rows.position_class, clusters, seed)
    return replace(effects, scaling=measured)


def scaled_difference(
    before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], scale: FloatArray
) -> npt.NDArray[np.float32]:
    """theta: (after - before) / S, unit means (n, m) and scales (m,)."""
    return np.asarray((after - before) / scale, dtype=np.float32)
