"""Reads paired rows of two models through a dictionary, block by block: sparse activities and what was missed."""

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
    """What a dictionary of m latents saw in N paired rows, by side (0: first model in canonical order)."""

    activity: dict[int, sp.csc_array]  # (N, m) float32
    residual: dict[
        int, FloatArray
    ]  # (N,) squared norm of what the reconstruction misses; kinds that have one
    missed: FloatArray | None  # (N,) squared norm of (second - first) minus what the dictionary says of it

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
    """Reads rows (N, d_first) and (N, d_second); `classes` (N,) are their position classes."""
    where = torch.from_numpy(classes)
    activity: dict[int, list[sp.csr_array]] = {side: [] for side in sides}
    residual: dict[int, list[torch.Tensor]] = {}
    missed: list[torch.Tensor] = []
    for start in range(0, len(rows[0]), BLOCK):
        at = slice(start, start + BLOCK)
        block = rows[0][at], rows[1][at]
        seen = dictionary.read(block, where[at], sides)
        for side in sides:
            activity[side].append(sp.csr_array(seen.activity[side].numpy()))
        for side, rebuilt in seen.reconstruction.items():
            residual.setdefault(side, []).append(_squared_norms(block[side].to(torch.float32) - rebuilt))
        if seen.difference is not None:
            missed.append(_squared_norms(scaled_difference(block, 1.0) - seen.difference))
    return EncodedPair(
        {side: sp.csc_array(sp.vstack(parts)) for side, parts in activity.items()},
        {side: torch.cat(parts).numpy() for side, parts in residual.items()},
        torch.cat(missed).numpy() if missed else None,
    )


def missed_share(
    reading: EncodedPair, rows: tuple[torch.Tensor, torch.Tensor], chosen: BoolArray
) -> float | None:
    """Share of the squared difference of the chosen rows that the dictionary misses (may exceed 1): dark matter.

    None across widths, where there is no difference.
    """
    if reading.missed is None:
        return None
    index = torch.from_numpy(np.flatnonzero(chosen))
    total = float(_squared_norms(scaled_difference((rows[0][index], rows[1][index]), 1.0)).sum())
    return float(reading.missed[chosen].sum() / total) if total > 0 else 0.0


def mean_shift_reach(
    rows: tuple[torch.Tensor, torch.Tensor], classes: IntArray, learned: BoolArray, chosen: BoolArray
) -> float | None:
    """Share of the squared difference of the chosen rows that the mean shift of each position class reaches.

    The shift is the mean over the `learned` rows; what every dictionary is compared with. None across widths.
    """
    if rows[0].shape != rows[1].shape:
        return None
    reached = total = 0.0
    for position_class in np.unique(classes[learned]):
        here = torch.from_numpy(np.flatnonzero(learned & (classes == position_class)))
        shift = scaled_difference((rows[0][here], rows[1][here]), 1.0).mean(dim=0)
        held = torch.from_numpy(np.flatnonzero(chosen & (classes == position_class)))
        difference = scaled_difference((rows[0][held], rows[1][held]), 1.0)
        whole = float(_squared_norms(difference).sum())
        reached += whole - float(_squared_norms(difference - shift).sum())
        total += whole
    return reached / total if total > 0 else 0.0


def _squared_norms(x: torch.Tensor) -> torch.Tensor:
    """(n,) float64 of x (n, d)."""
    return x.square().sum(dim=1, dtype=torch.float64)
