"""Rows on disk: what is indexed is read from the shards, and nothing is kept."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fi_store.errors import AnalysisError

if TYPE_CHECKING:
    import torch

BLOCK = 4096
"""Rows that are processed at once."""

Vectors: TypeAlias = "torch.Tensor | StoredRows"
"""(N, d) rows in memory or on disk; either is indexed by a slice, or by ascending row numbers (r,) int64."""


@dataclass(frozen=True)
class Shard:
    """A file of activations or gradients: `n_rows` rows of one reader, one site and one layer."""

    path: Path
    n_rows: int
    present: bool  # False once it was removed to free disk space


@dataclass(frozen=True)
class StoredRows:
    """The (N, d) rows of one reader, site and layer, in the run's dtype.

    Reading raises AnalysisError where a shard is damaged, or holds NaN or infinite values.
    """

    shards: tuple[Shard, ...]  # in the order of the rows; at least one
    what: str  # activations or gradients: the name of the tensor in a shard
    source: str  # for messages

    @cached_property
    def _starts(self) -> list[int]:
        """The first row of each shard, and N."""
        return list(accumulate((shard.n_rows for shard in self.shards), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    @cached_property
    def shape(self) -> tuple[int, int]:
        return len(self), self._range(0, 0).shape[1]

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        import torch

        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self._range(start, stop)
        if not len(rows):
            return self._range(0, 0)
        _, counts = torch.unique_consecutive(rows // BLOCK, return_counts=True)
        near = torch.split(rows, counts.tolist())  # what lies between rows that are far apart is not read
        return torch.cat([self._range(int(some[0]), int(some[-1]) + 1)[some - some[0]] for some in near])

    def _range(self, start: int, stop: int) -> torch.Tensor:
        """Rows from `start` to `stop`."""
        import torch

        number = min(bisect_right(self._starts, start) - 1, len(self.shards) - 1)
        parts: list[torch.Tensor] = []
        while not parts or self._starts[number] < stop:
            first, shard = self._starts[number], self.shards[number]
            parts.append(self._read(shard, max(start - first, 0), min(stop - first, shard.n_rows)))
            number += 1
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _read(self, shard: Shard, start: int, stop: int) -> torch.Tensor:
        import torch
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(shard.path, framework="pt") as file:
                stored = file.get_slice(self.what)
                n_rows = stored.get_shape()[0]
                part: torch.Tensor = stored[start:stop].clone()  # a slice keeps the whole file mapped
        except (OSError, SafetensorError) as error:
            raise AnalysisError(
                f"The shard {shard.path} cannot be read: {error}.", hint="fi-store doctor"
            ) from error
        if n_rows != shard.n_rows:
            raise AnalysisError(f"The shard {shard.path} holds {n_rows} rows instead of {shard.n_rows}.")
        if not bool(torch.isfinite(part).all()):
            raise AnalysisError(f"The {self.what} of {self.source} hold NaN or infinite values.")
        return part
