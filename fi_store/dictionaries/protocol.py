"""What every kind of dictionary can do: encode paired rows of two models (METHOD section 4).

Whatever the kind, the analysis gets each model's own activity for every latent, non-negative and in units of the scale
s along the latent's direction d of length 1, so that `f s d` is a vector in activation space. Sides are 0 (the first
model in canonical order) and 1 (the second); nothing here knows which of them is called base.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fi_store.dictionaries.folder import DictionaryConfig, save_folder

if TYPE_CHECKING:
    import torch

ORDER = (0, 1)
"""The sides of a dictionary: the first and the second model in canonical order."""


@dataclass(frozen=True)
class Encoding:
    """How a dictionary of m latents encodes n paired rows, for the requested sides."""

    activity: Mapping[int, torch.Tensor]  # side -> (n, m) float32, >= 0, in units of the scale
    reconstruction: Mapping[int, torch.Tensor]  # side -> (n, d_side) raw units; empty if the kind has none
    # (n, d) raw units: reconstruction of second - first; needs both sides and equal widths
    difference: torch.Tensor | None
    code: torch.Tensor | None = None  # (n, m) the code that both models share (crosscoder)


@dataclass(frozen=True)
class Dictionary(ABC):
    """Directions for one site and layer."""

    config: DictionaryConfig
    w_dec: torch.Tensor  # (m, d) the latents' unit-length directions, in the space where latents are compared
    coupled: ClassVar[bool] = False
    """Whether a model's activity also depends on the other model's rows."""

    @abstractmethod
    def encode_pair(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = ORDER,
    ) -> Encoding:
        """Encodes paired rows (n, d_first) and (n, d_second) with position classes (n,), about 4,096 at a time."""

    def decoder(self, side: int) -> torch.Tensor:
        """(m, d_side) raw units: what activity 1 of a latent adds to a model's activations."""
        return self.w_dec * self.config.scale

    @classmethod
    @abstractmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor except `W_dec`."""

    def save(self, folder: Path) -> None:
        """Writes the folder; it appears whole or not at all."""
        tensors = {file_name(f.name): getattr(self, f.name) for f in fields(self) if f.name != "config"}
        save_folder(self.config, tensors, folder)


def gated(pre: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    """relu(pre) where it exceeds the threshold."""
    return pre.relu() * (pre > threshold)


def file_name(field: str) -> str:
    """The name of a field's tensor on disk."""
    return field.replace("w_", "W_")
