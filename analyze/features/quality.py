"""How well a dictionary reconstructs both models' rows: sums that grow block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from analyze.extraction import BoolArray, FloatArray, IntArray
from fi_store.dictionaries import Encoding, scaled_difference
from fi_store.vocabulary import Side


@dataclass(frozen=True)
class Quality:
    """How well a dictionary reconstructs, by model and half; None if its kind has no such figure."""

    explained: Mapping[tuple[Side, str], float | None]  # (reader, half) -> explained variance
    l0: Mapping[Side, float]  # reader -> mean active latents per row
    dead_share: float  # share of latents that never fire on D in either model
    dark_matter: float | None  # share of ||target - base||^2 on C that is missed; None across widths
    mean_shift: float | None  # share of it that the mean shift of D, by position class, explains on C


@dataclass
class Sums:
    """Sums over some rows (float64): of the rows, of their squared norms, and of the squared norms that are missed."""

    n: int = 0
    total: FloatArray | float = 0.0  # (d,)
    squares: float = 0.0
    missed: float = 0.0

    def add(self, x: torch.Tensor, missed: torch.Tensor | None) -> None:
        """Adds rows x (n, d) and what is missed of them (n, d)."""
        self.n += len(x)
        self.total = self.total + x.sum(dim=0, dtype=torch.float64).numpy()
        self.squares += float(x.square().sum(dtype=torch.float64))
        if missed is not None:
            self.missed += float(missed.square().sum(dtype=torch.float64))

    @property
    def explained(self) -> float:
        """1 - missed / variance; 0 where nothing varies."""
        variance = self.squares - float(np.square(self.total).sum()) / max(self.n, 1)
        return 1 - self.missed / variance if variance > 0 else 0.0


@dataclass
class QualitySums:
    """What the figures of a dictionary are made of."""

    rows: dict[tuple[int, bool], Sums] = field(
        default_factory=dict
    )  # (side, is D) -> rows without control texts
    learned: dict[int, Sums] = field(default_factory=dict)  # position class -> differences on D
    judged: dict[int, Sums] = field(
        default_factory=dict
    )  # position class -> differences on C, without control texts

    def add(
        self,
        pair: tuple[torch.Tensor, torch.Tensor],
        encoded: Encoding,
        classes: IntArray,
        discovery: BoolArray,
        own: BoolArray,
    ) -> None:
        """Adds a block of paired rows (n, d_side), with their position classes, halves and kinds of text (n,)."""
        halves = {half: torch.from_numpy(np.flatnonzero(own & (discovery == half))) for half in (True, False)}
        for side, rebuilt in encoded.reconstruction.items():
            x = pair[side].to(torch.float32)
            for half, chosen in halves.items():
                self.rows.setdefault((side, half), Sums()).add(x[chosen], (x - rebuilt)[chosen])
        if encoded.difference is None:
            return
        moved = scaled_difference(pair, 1.0)
        missed = moved - encoded.difference
        for kept, sums in ((discovery, self.learned), (own & ~discovery, self.judged)):
            for position_class in np.unique(classes[kept]).tolist():
                chosen = torch.from_numpy(np.flatnonzero(kept & (classes == position_class)))
                sums.setdefault(position_class, Sums()).add(moved[chosen], missed[chosen])

    def explained(self, side: int, half: bool) -> float | None:
        """Explained variance, 1 - residual / total variance; None for kinds that reconstruct nothing."""
        found = self.rows.get((side, half))
        return found.explained if found is not None else None

    def dark_matter(self) -> float | None:
        """The share of the squared difference on C that the dictionary misses (may exceed 1); None across widths."""
        if not self.learned:
            return None
        total = sum(each.squares for each in self.judged.values())
        return sum(each.missed for each in self.judged.values()) / total if total > 0 else 0.0

    def mean_shift(self) -> float | None:
        """Share of the squared difference on C that the mean shift of D explains, by position class.

        Every dictionary is compared with it. None across widths.
        """
        if not self.learned:
            return None
        explained = total = 0.0
        for position_class, learned in self.learned.items():
            judged = self.judged.get(position_class, Sums())
            shift = np.asarray(learned.total) / learned.n
            # sum ||x||^2 - sum ||x - shift||^2
            explained += 2 * float(np.sum(shift * judged.total)) - judged.n * float(shift @ shift)
            total += judged.squares
        return explained / total if total > 0 else 0.0
