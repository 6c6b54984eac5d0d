"""How both models' activations compare by sequence and position class, summed up while a chunk is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from extract.texts import ReadSequence

Key = tuple[str, int]
"""A site and a layer."""


class Summaries:
    """Sums over the G groups of a chunk's rows: those of one sequence and position class, in row order."""

    def __init__(self, sequences: Sequence[ReadSequence]) -> None:
        numbers: dict[tuple[int, str], int] = {}
        of_row = [
            numbers.setdefault((at, name), len(numbers))
            for at, sequence in enumerate(sequences)
            for name in sequence.classes
        ]
        self.members = [(sequences[at], name) for at, name in numbers]
        self.sizes = torch.bincount(torch.tensor(of_row, dtype=torch.long), minlength=len(numbers))  # (G,)
        self._of_row = torch.tensor(of_row, dtype=torch.long)
        # by site and layer: the sums of each model's rows (G, d), and of the two norms, the distance and the cosine
        self._vectors: dict[Key, tuple[Tensor, Tensor]] = {}
        self._scalars: dict[Key, Tensor] = {}  # (4, G)

    def add(self, rows: Tensor, base: Mapping[Key, Tensor], target: Mapping[Key, Tensor]) -> None:
        """Adds both models' activations (n, d_model) at rows (n,) of the chunk."""
        groups, count = self._of_row[rows], len(self.members)
        for key in base.keys() & target.keys():
            pair = base[key].cpu().float(), target[key].cpu().float()
            if key not in self._vectors:
                first, second = (torch.zeros(count, values.shape[1]) for values in pair)
                self._vectors[key] = first, second
                self._scalars[key] = torch.zeros(4, count)
            for total, values in zip(self._vectors[key], pair, strict=True):
                total.index_add_(0, groups, values)
            for total, column in zip(self._scalars[key], _compared(*pair), strict=True):
                total.index_add_(0, groups, column)

    @property
    def keys(self) -> list[Key]:
        """The sites and layers, sorted."""
        return sorted(self._vectors)

    def means(self, key: Key) -> tuple[Tensor, Tensor]:
        """(G, d) the mean of the base's rows and of the target's."""
        first, second = (total / self.sizes[:, None] for total in self._vectors[key])
        return first, second

    def scalars(self, key: Key) -> Tensor:
        """(4, G): both mean norms, relative difference and cosine. The last two are NaN across widths."""
        norm_base, norm_target, distance, cosine = self._scalars[key] / self.sizes
        relative = distance / norm_base.where(norm_base > 0, torch.nan)
        return torch.stack([norm_base, norm_target, relative, cosine])


def _compared(base: Tensor, target: Tensor) -> list[Tensor]:
    """(n,) each: both norms, the distance and the cosine of pairs of rows."""
    norms = base.norm(dim=1), target.norm(dim=1)
    if base.shape[1] != target.shape[1]:
        nothing = torch.full_like(norms[0], torch.nan)
        return [*norms, nothing, nothing]
    cosine = torch.nn.functional.cosine_similarity(base, target, dim=1)
    return [*norms, (target - base).norm(dim=1), cosine]
