"""Encodes paired rows of two models with a dictionary, block by block: sparse activities, and what it misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from analyze.extraction import BoolArray, FloatArray, IntArray
from analyze.fit import BLOCK
from fi_store.dictionaries import ORDER, Dictionary, scaled_difference


@dataclass(frozen=True)
class EncodedPair:
    """N paired rows through a dictionary of m latents, by side (0: the first model in canonical order)."""

    activity: dict[int, sp.csc_array]  # (N, m) float32
    # (N,) squared norm of what the reconstruction misses; empty for kinds that reconstruct nothing
    residual: dict[int, FloatArray]
    missed: FloatArray | None  # (N,) squared norm of (second - first) minus the dictionary's account of it

    def explained(self, side: int, x: torch.Tensor, chosen: BoolArray) -> float | None:
        """Explained variance, 1 - residual / total variance over the chosen rows of x (N, d)."""
        if side not in self.residual:
            return None
        true = x[torch.from_numpy(chosen)].to(torch.float32)
        total = float((true - true.mean(dim=0)).square().sum(dtype=torch.float64))
        return float(1 - self.residual[side][chosen].sum() / total) if total > 0 else 0.0


def encode_pair(
    dictionary: Dictionary,
    rows: tuple[torch.Tensor, torch.Tensor],
    classes: IntArray,
    sides: Sequence[int] = ORDER,
) -> EncodedPair:
    """Encodes rows (N, d_first) and (N, d_second); `classes` (N,) are their position classes."""
    position_classes = torch.from_numpy(classes)
    activity: dict[int, list[sp.csr_array]] = {side: [] for side in sides}
    residual: dict[int, list[torch.Tensor]] = {}
    missed: list[torch.Tensor] = []
    for start in range(0, len(rows[0]), BLOCK):
        at = slice(start, start + BLOCK)
        block = rows[0][at], rows[1][at]
        encoded = dictionary.encode_pair(block, position_classes[at], sides)
        for side in sides:
            activity[side].append(sp.csr_array(encoded.activity[side].numpy()))
        for side, rebuilt in encoded.reconstruction.items():
            residual.setdefault(side, []).append(_squared_norms(block[side].to(torch.float32) - rebuilt))
        if encoded.difference is not None:
            missed.append(_squared_norms(scaled_difference(block, 1.0) - encoded.difference))
    return EncodedPair(
        {side: sp.csc_array(sp.vstack(parts)) for side, parts in activity.items()},
        {side: torch.cat(parts).numpy() for side, parts in residual.items()},
        torch.cat(missed).numpy() if missed else None,
    )


def missed_share(
    encoded: EncodedPair, rows: tuple[torch.Tensor, torch.Tensor], chosen: BoolArray
) -> float | None:
    """Dark matter: the share of the chosen rows' squared difference that the dictionary misses (may exceed 1).

    None across widths, where there is no difference.
    """
    if encoded.missed is None:
        return None
    index = torch.from_numpy(np.flatnonzero(chosen))
    total = float(_squared_norms(scaled_difference((rows[0][index], rows[1][index]), 1.0)).sum())
    return float(encoded.missed[chosen].sum() / total) if total > 0 else 0.0


def mean_shift_share(
    rows: tuple[torch.Tensor, torch.Tensor], classes: IntArray, learned: BoolArray, chosen: BoolArray
) -> float | None:
    """Share of the chosen rows' squared difference that the mean shift of each position class explains.

    The shift is the mean over the `learned` rows; every dictionary is compared with it. None across widths.
    """
    if rows[0].shape != rows[1].shape:
        return None
    explained = total = 0.0
    for position_class in np.unique(classes[learned]):
        here = torch.from_numpy(np.flatnonzero(learned & (classes == position_class)))
        shift = scaled_difference((rows[0][here], rows[1][here]), 1.0).mean(dim=0)
        index = torch.from_numpy(np.flatnonzero(chosen & (classes == position_class)))
        difference = scaled_difference((rows[0][index], rows[1][index]), 1.0)
        whole = float(_squared_norms(difference).sum())
        explained += whole - float(_squared_norms(difference - shift).sum())
        total += whole
    return explained / total if total > 0 else 0.0


def _squared_norms(x: torch.Tensor) -> torch.Tensor:
    """(n,) float64 of x (n, d)."""
    return x.square().sum(dim=1, dtype=torch.float64)
