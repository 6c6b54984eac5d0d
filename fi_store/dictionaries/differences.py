"""Directions of the difference between two models: a sparse autoencoder, principal components, the mean shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fi_store.dictionaries.folder import DictionaryConfig
from fi_store.dictionaries.protocol import ORDER, Dictionary, Encoding, gated

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DifferenceDictionary(Dictionary):
    """Directions of second - first. A model's own activity is the projection of its activation onto a direction."""

    center: torch.Tensor  # (d,) mean of both models' training rows, in units of the scale

    def projection(self, x: torch.Tensor) -> torch.Tensor:
        """(n, m) of raw activations (n, d): max(0, <x / s - center, d_j>)."""
        return project(x, self.config.scale, self.center, self.w_dec).relu()


@dataclass(frozen=True)
class DiffSae(DifferenceDictionary):
    """A sparse autoencoder of the difference; a latent is active where its code is not zero.

    Direction j points toward both models' rows where latent j is active: it is the SAE's decoder times `polarity`.
    """

    w_enc: torch.Tensor  # (d, m)
    b_enc: torch.Tensor  # (m,)
    b_dec: torch.Tensor  # (d,)
    polarity: torch.Tensor  # (m,) +1 or -1
    coupled: ClassVar[bool] = True

    def encode(self, rows: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(n, m) the code of the difference between paired rows."""
        import torch

        x = scaled_difference(rows, self.config.input_scales[0])
        return gated(torch.addmm(self.b_enc, x - self.b_dec, self.w_enc), self.config.threshold)

    def encode_pair(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = ORDER,
    ) -> Encoding:
        f = self.encode(rows)
        activity = {side: self.projection(rows[side]) * (f > 0) for side in sides}
        rebuilt = ((f * self.polarity) @ self.w_dec + self.b_dec) * self.config.input_scales[0]
        return Encoding(activity, {}, rebuilt)

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        d, m = config.d_model, config.n_latents
        return {"W_enc": (d, m), "b_enc": (m,), "b_dec": (d,), "polarity": (m,), "center": (d,)}


@dataclass(frozen=True)
class Pca(DifferenceDictionary):
    """Principal components of the difference, each with both signs: latents j and j + m/2 are opposite."""

    def encode_pair(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = ORDER,
    ) -> Encoding:
        components = self.w_dec[: len(self.w_dec) // 2]
        difference = scaled_difference(rows, 1.0) @ components.T @ components if len(sides) == 2 else None
        return Encoding({side: self.projection(rows[side]) for side in sides}, {}, difference)

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        return {"center": (config.d_model,)}


@dataclass(frozen=True)
class MeanDiff(DifferenceDictionary):
    """The mean difference of each position class: one latent per class, active at the rows of that class."""

    shift: torch.Tensor  # (m, d) raw units: mean of second - first; zero for a class without rows

    def encode_pair(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = ORDER,
    ) -> Encoding:
        import torch

        active = torch.nn.functional.one_hot(classes, self.config.n_latents)  # (n, m)
        return Encoding(
            {side: self.projection(rows[side]) * active for side in sides}, {}, self.shift[classes]
        )

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        return {"center": (config.d_model,), "shift": (config.n_latents, config.d_model)}


def scaled_difference(rows: tuple[torch.Tensor, torch.Tensor], scale: float) -> torch.Tensor:
    """(n, d) float32, (second - first) / scale."""
    import torch

    return (rows[1].to(torch.float32) - rows[0].to(torch.float32)) / scale


def project(x: torch.Tensor, scale: float, center: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """(n, m) signed projections <x / scale - center, d_j> of raw activations (n, d)."""
    import torch

    return (x.to(torch.float32) / scale - center) @ directions.T
