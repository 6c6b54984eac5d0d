"""What a dictionary's features do in each model: activations per unit, theta, the sham floor, quality figures.

theta_ij = (a_ij^target - a_ij^base) / S_j with S_j the root mean square of f_j over the firing tokens of both models
on D (METHOD section 3): free of scale, and it changes sign exactly when the pair is swapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from analyze.rows import CLASSES, BoolArray, Extraction, FloatArray, IntArray
from fi_store.config import METHOD
from fi_store.dictionary import SparseDictionary


@dataclass(frozen=True)
class Quality:
    """How well a dictionary reconstructs, by model and half."""

    explained: Mapping[tuple[str, str], float]  # (reader, half) -> explained variance
    l0: Mapping[str, float]  # reader -> mean active latents per row
    dead_share: float  # latents that fire nowhere on D in either model
    dark_matter: float  # share of ||target - base||^2 on C that the reconstructions' difference leaves over


@dataclass(frozen=True)
class LayerEffects:
    """The features of one dictionary (m latents) on one extraction (N rows, n units)."""

    site: str
    layer: int
    dictionary: SparseDictionary
    codes: Mapping[str, sp.csc_array]  # reader -> (N, m) float32
    scale: FloatArray  # (m,) S_j; 1 where the latent never fires
    alive: BoolArray  # (m,)
    fires: Mapping[str, IntArray]  # reader -> (m,) firing rows on D
    means: Mapping[tuple[str, int], npt.NDArray[np.float32]]  # (reader, position class) -> (n, m) unit means
    floors: FloatArray  # (3,) per position class
    quality: Quality

    def theta(self, position_class: int) -> npt.NDArray[np.float32]:
        """(n, m) theta of every unit and latent in a position class."""
        return self.theta_between("base", "target", position_class)

    def theta_between(self, before: str, after: str, position_class: int) -> npt.NDArray[np.float32]:
        """(n, m) theta with two readers in the places of base and target."""
        return scaled_difference(
            self.means[before, position_class], self.means[after, position_class], self.scale
        )

    def difference(self, latents: IntArray) -> FloatArray:
        """(N, len(latents)) token-level (f^target - f^base) / S."""
        delta = (self.codes["target"][:, latents] - self.codes["base"][:, latents]).toarray()
        return np.asarray(delta / self.scale[latents], dtype=np.float64)

    def activity(self, reader: str, latents: IntArray) -> FloatArray:
        """(N, len(latents)) token-level f / S of one reader."""
        return np.asarray(self.codes[reader][:, latents].toarray() / self.scale[latents], dtype=np.float64)


def measure_effects(
    extraction: Extraction,
    dictionary: SparseDictionary,
    activations: Mapping[str, torch.Tensor],
    anchor: str,
    minimum_floor: float,
) -> LayerEffects:
    """Encodes every reader's rows and reduces them to units.

    `activations` maps each reader to (N, d); `anchor` is the reader that the shams were built around.
    """
    rows, n = extraction.rows, extraction.units.n
    codes, explained, l0, reconstructed = {}, {}, {}, {}
    for reader, x in activations.items():
        dense = dictionary.encode(x)
        codes[reader] = sp.csc_array(dense.numpy())
        if reader in ("base", "target"):
            reconstructed[reader] = dictionary.decode(dense)
            for half, chosen in (("D", rows.discovery), ("C", ~rows.discovery)):
                explained[reader, half] = _explained(x, reconstructed[reader], chosen & rows.own)
            l0[reader] = float((dense > 0).sum(dim=1).double().mean())
    on_d = sp.csr_array(rows.discovery.astype(np.float64)[None, :])
    fires = {reader: _row(on_d @ (codes[reader] > 0)).astype(np.int64) for reader in ("base", "target")}
    total = fires["base"] + fires["target"]
    squares = sum(_row(on_d @ codes[reader].power(2)) for reader in ("base", "target"))
    scale = np.sqrt(np.divide(squares, total, out=np.ones_like(squares), where=total > 0))
    alive = total >= METHOD.alive_tokens
    means = {}
    for position_class in range(len(CLASSES)):
        weights = rows.unit_means(position_class, n)
        for reader in activations:
            means[reader, position_class] = (weights @ codes[reader]).toarray().astype(np.float32)
    floors = np.asarray(
        [
            sham_floor(
                [
                    (means[s, c] - means[anchor, c])[extraction.units.discovery] / scale
                    for s in extraction.shams
                ],
                alive,
                minimum_floor,
            )
            for c in range(len(CLASSES))
        ]
    )
    quality = Quality(
        explained,
        l0,
        float((total == 0).mean()),
        _dark_matter(activations, reconstructed, ~rows.discovery & rows.own),
    )
    return LayerEffects(
        dictionary.config.site,
        dictionary.config.layer,
        dictionary,
        codes,
        scale,
        alive,
        fires,
        means,
        floors,
        quality,
    )


def scaled_difference(
    before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], scale: FloatArray
) -> npt.NDArray[np.float32]:
    """theta: (after - before) / S, unit means (n, m) and scales (m,)."""
    return np.asarray((after - before) / scale, dtype=np.float32)


def sham_floor(thetas: list[npt.NDArray[np.float32]], alive: BoolArray, minimum: float) -> float:
    """max(minimum, mean over shams of the 99.9% quantile over alive features of |mean theta|) (METHOD section 3).

    `thetas`: one (units of D, m) array per sham. With fewer than 1,000 alive features the quantile is the maximum.
    """
    if not thetas or not alive.any():
        return minimum
    level = METHOD.floor_quantile if alive.sum() >= METHOD.floor_quantile_needs else 1.0
    found = [float(np.quantile(np.abs(theta[:, alive].mean(axis=0)), level)) for theta in thetas]
    return max(minimum, float(np.mean(found)))


def _row(product: sp.csr_array | sp.csc_array) -> FloatArray:
    return np.asarray(product.toarray()[0], dtype=np.float64)


def _explained(x: torch.Tensor, reconstruction: torch.Tensor, chosen: BoolArray) -> float:
    """1 - residual / total variance over the chosen rows."""
    index = torch.from_numpy(chosen)
    true = x[index].to(torch.float32)
    residual = (true - reconstruction[index]).square().sum(dtype=torch.float64)
    total = (true - true.mean(dim=0)).square().sum(dtype=torch.float64)
    return float(1 - residual / total) if total > 0 else 0.0


def _dark_matter(
    activations: Mapping[str, torch.Tensor], reconstructed: Mapping[str, torch.Tensor], chosen: BoolArray
) -> float:
    """Share of the squared activation difference that the difference of reconstructions misses (may exceed 1)."""
    index = torch.from_numpy(chosen)
    true = activations["target"][index].to(torch.float32) - activations["base"][index].to(torch.float32)
    reached = reconstructed["target"][index] - reconstructed["base"][index]
    total = true.square().sum(dtype=torch.float64)
    return float((true - reached).square().sum(dtype=torch.float64) / total) if total > 0 else 0.0
