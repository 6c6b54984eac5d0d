"""Sparse codes of a batch: which latents fire in which row, and products that touch only those.

BatchTopK codes have about k nonzeros per row among thousands of latents. Decoding and every gradient are sums of rows
picked by the nonzeros, which `embedding_bag` computes without a product over the whole dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_WORD = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
"""An integer type of the same width: positive floats sort like their bits, and integers compare faster."""


@dataclass(frozen=True)
class Codes:
    """The nonzeros of an (n, m) matrix, row by row."""

    rows: torch.Tensor  # (z,) int64, ascending
    latents: torch.Tensor  # (z,) int64
    values: torch.Tensor  # (z,) float32, above zero
    n: int
    m: int

    def decode(self, values: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        """(n, d): row i is the sum of its `values` times the directions (m, d) of their latents."""
        return _bags(self.latents, values, _starts(self.rows, self.n), directions)

    def collect(self, values: torch.Tensor, x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """(m, d): row j is the sum of latent j's `values` times the rows of x (n, d) that it fires in."""
        starts = _starts(self.latents[order], self.m)
        return _bags(self.rows[order], values[order], starts, x)

    def by_latent(self) -> torch.Tensor:
        """The order that sorts the nonzeros by latent."""
        return torch.argsort(self.latents.to(torch.int32), stable=True)


def _starts(ascending: torch.Tensor, n: int) -> torch.Tensor:
    """(n + 1,) where each of 0..n-1 begins in a sorted list, and the end of the list."""
    return torch.nn.functional.pad(torch.bincount(ascending, minlength=n).cumsum(0), (1, 0))


def _bags(
    picked: torch.Tensor, weights: torch.Tensor, starts: torch.Tensor, table: torch.Tensor
) -> torch.Tensor:
    return torch.nn.functional.embedding_bag(
        picked, table, starts, per_sample_weights=weights, mode="sum", include_last_offset=True
    )


def largest(active: torch.Tensor, wanted: int, hint: float) -> tuple[Codes, float]:
    """The `wanted` largest positive entries of a contiguous (n, m) matrix, and the smallest of them.

    The result is exact, and ties with the smallest are kept. `hint` is a guess of the smallest: entries well under it
    are skipped if enough others exceed it, since a top-k over all entries costs more than the encoder.
    """
    n, m = active.shape
    bits = active.view(_WORD[active.dtype]).view(-1)
    for share in (0.95, 0.8, 0.5, 0.0):
        cut = torch.tensor(hint * share).to(active.dtype).view(_WORD[active.dtype])
        index = torch.from_numpy(np.flatnonzero((bits > cut).numpy()))
        if len(index) >= wanted:
            break
    values = active.view(-1).index_select(0, index).to(torch.float32)
    if len(values) > wanted:
        smallest = float(torch.kthvalue(values, len(values) - wanted + 1).values)
        kept = torch.from_numpy(np.flatnonzero((values >= smallest).numpy()))
        index, values = index[kept], values[kept]
    else:
        smallest = float(values.min()) if len(values) else 0.0
    return Codes(index // m, index % m, values, n, m), smallest
