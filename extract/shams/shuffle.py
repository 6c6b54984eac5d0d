"""Content-free copies of a weight difference: rows and columns permuted, signs flipped, spectrum kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fi_store.ids import content_id


@dataclass(frozen=True)
class Shuffle:
    """The random permutations and signs of one sham; the same seed, number and name give the same ones."""

    seed: int
    number: int

    def __call__(self, name: str, delta: Tensor) -> Tensor:
        """D1 P1 delta P2 D2 for a matrix (the last two dimensions of a stack of them); D1 P1 delta for a vector."""
        if delta.ndim == 1:
            return self.along(name, "vector", delta, 0)
        return self.along(name, "columns", self.along(name, "rows", delta, -2), -1)

    def along(self, name: str, which: str, values: Tensor, dim: int) -> Tensor:
        """Permutes and sign-flips `values` along one dimension; `name` and `which` choose the random draw."""
        generator = torch.Generator().manual_seed(
            int(content_id("sham", self.seed, self.number, name, which)[:15], 16)
        )
        size = values.shape[dim]
        order = torch.randperm(size, generator=generator)
        signs = torch.randint(0, 2, (size,), generator=generator) * 2 - 1
        shape = [1] * values.ndim
        shape[dim] = size
        return values.index_select(dim, order.to(values.device)) * signs.reshape(shape).to(values)
