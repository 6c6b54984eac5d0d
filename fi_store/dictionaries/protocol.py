"""What every kind of dictionary does: it reads paired rows of two models (METHOD section 2).

Whatever the kind, the analysis gets each model's own activity of every latent, not negative and in units of the scale
s along the latent's unit direction, so that `f s d` is a vector in activation space. Sides are 0 (the first model in
canonical order) and 1 (the second); nothing here knows which of them is called base.
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
    """What a dictionary of m latents sees in n paired rows; only the sides that were asked for."""

    activity: Mapping[int, torch.Tensor]  # side -> (n, m) float32, >= 0, in units of the scale
    reconstruction: Mapping[int, torch.Tensor]  # side -> (n, d_side) raw units; empty where a kind has none
    difference: (
        torch.Tensor | None
    )  # (n, d) raw units: what it says of second - first; needs both sides, one width
    code: torch.Tensor | None = None  # (n, m) the one code that both models share (crosscoder)


@dataclass(frozen=True)
class Dictionary(ABC):
    """Directions for one site and layer."""

    config: DictionaryConfig
    w_dec: torch.Tensor  # (m, d) unit rows: the latents' directions, in the space where latents are compared
    coupled: ClassVar[bool] = False
    """A model's activity depends on the rows of the model beside it."""

    @abstractmethod
    def read(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = ORDER,
    ) -> Encoding:
        """Reads paired rows (n, d_first) and (n, d_second) with their position classes (n,), about 4,096 at a time."""

    def decoder(self, side: int) -> torch.Tensor:
        """(m, d_side) what one unit of activity adds to a model's activations, raw units."""
        return self.w_dec * self.config.scale

    @classmethod
    @abstractmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor but `W_dec` (m, d_model)."""

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
