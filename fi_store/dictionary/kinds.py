"""The kinds of dictionaries behind one protocol: what each of them sees in paired rows (METHOD section 2).

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

from fi_store.dictionary.folder import DictionaryConfig, load_folder, save_folder
from fi_store.errors import AnalysisError

if TYPE_CHECKING:
    import torch

SIDES = (0, 1)


@dataclass(frozen=True)
class Reading:
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
        sides: Sequence[int] = SIDES,
    ) -> Reading:
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
        tensors = {_file_name(f.name): getattr(self, f.name) for f in fields(self) if f.name != "config"}
        save_folder(self.config, tensors, folder)


@dataclass(frozen=True)
class PairedSae(Dictionary):
    """A sparse autoencoder; both models are encoded on their own with the same weights."""

    w_enc: torch.Tensor  # (d, m)
    b_enc: torch.Tensor  # (m,)
    b_dec: torch.Tensor  # (d,)
    threshold: torch.Tensor  # (m,) what a pre-activation must exceed

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activities (n, m) of raw activations x (n, d): `relu(pre)` where `pre > threshold`."""
        import torch

        rows = x.to(torch.float32) / self.config.scale - self.b_dec
        return _gated(torch.addmm(self.b_enc, rows, self.w_enc), self.threshold)

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        """Reconstruction (n, d) in the raw unit of the activations, from activities f (n, m)."""
        return (f @ self.w_dec + self.b_dec) * self.config.scale

    def read(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = SIDES,
    ) -> Reading:
        activity = {side: self.encode(rows[side]) for side in sides}
        rebuilt = {side: self.decode(f) for side, f in activity.items()}
        return Reading(activity, rebuilt, rebuilt[1] - rebuilt[0] if len(rebuilt) == 2 else None)

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        d, m = config.d_model, config.n_latents
        return {"W_enc": (d, m), "b_enc": (m,), "b_dec": (d,), "threshold": (m,)}


@dataclass(frozen=True)
class Crosscoder(Dictionary):
    """One code for both models, a decoder for each (Lindsey et al. 2024, "Sparse crosscoders ..."; BatchTopK: Minder
    et al. 2025, "Robustly identifying concepts introduced during chat fine-tuning using crosscoders").

    `w_dec`: for models of one width the decoder with the larger norm in raw units, as a unit row; else `w_both`.
    """

    w_enc: torch.Tensor  # (d_first + d_second, m)
    b_enc: torch.Tensor  # (m,)
    b_dec: torch.Tensor  # (d_first + d_second,)
    w_both: (
        torch.Tensor
    )  # (m, d_first + d_second) unit rows: both decoders side by side, in units of the input scales
    coupled: ClassVar[bool] = True

    def part(self, side: int) -> slice:
        """Where a model's components stand among the concatenated ones."""
        d = self.config.d_model
        return slice(0, d) if side == 0 else slice(d, d + self.config.d_second)

    def inputs(self, rows: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(n, d_first + d_second) both models' rows, each in units of its own scale."""
        import torch

        scaled = (x.to(torch.float32) / s for x, s in zip(rows, self.config.input_scales, strict=True))
        return torch.cat(list(scaled), dim=1)

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, m) the shared code f of `inputs`."""
        import torch

        return _gated(torch.addmm(self.b_enc, inputs - self.b_dec, self.w_enc), self.config.threshold)

    def decoder(self, side: int) -> torch.Tensor:
        return self.w_both[:, self.part(side)] * self.config.input_scales[side]

    def own_direction(self, side: int) -> torch.Tensor:
        """(m, d_side) the unit direction that a model's own activity is measured along."""
        import torch

        if self.config.same_width:
            return self.w_dec
        return torch.nn.functional.normalize(self.decoder(side), dim=1)

    def read(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = SIDES,
    ) -> Reading:
        """Where f_j > 0, the model's own activity is max(0, <eps + f_j d_j, u_j>) / s: its reconstruction error with
        the latent's own part put back, along the latent's direction u_j. (A shared code alone says nothing about one
        model: METHOD section 2.) Across widths s is the model's own scale."""
        config = self.config
        x = self.inputs(rows)
        f = self.encode(x)
        rebuilt = f @ self.w_both + self.b_dec
        activity, reconstruction = {}, {}
        for side in sides:
            part, scale = self.part(side), config.input_scales[side]
            direction, unit = self.own_direction(side), config.scale if config.same_width else scale
            error = (x[:, part] - rebuilt[:, part]) * scale
            own = error @ direction.T + f * (self.decoder(side) * direction).sum(dim=1)
            activity[side] = own.relu() * (f > 0) / unit
            reconstruction[side] = rebuilt[:, part] * scale
        both = len(reconstruction) == 2 and config.same_width
        difference = reconstruction[1] - reconstruction[0] if both else None
        return Reading(activity, reconstruction, difference, f)

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        both, m = config.d_model + config.d_second, config.n_latents
        return {"W_enc": (both, m), "b_enc": (m,), "b_dec": (both,), "W_both": (m, both)}


@dataclass(frozen=True)
class DifferenceDictionary(Dictionary):
    """Directions of second - first. A model's own activity is the projection of its own activation on a direction."""

    centre: torch.Tensor  # (d,) mean of both models' training rows, in units of the scale

    def projection(self, x: torch.Tensor) -> torch.Tensor:
        """(n, m) of raw activations (n, d): max(0, <x / s - centre, d_j>)."""
        return project(x, self.config.scale, self.centre, self.w_dec).relu()


@dataclass(frozen=True)
class DiffSae(DifferenceDictionary):
    """A sparse autoencoder of the difference; a latent is open where its code is not zero.

    Direction j points to where the open rows of both models lie: it is the SAE's decoder row times `polarity`.
    """

    w_enc: torch.Tensor  # (d, m)
    b_enc: torch.Tensor  # (m,)
    b_dec: torch.Tensor  # (d,)
    polarity: torch.Tensor  # (m,) +1 or -1
    coupled: ClassVar[bool] = True

    def encode(self, rows: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(n, m) the code of the difference."""
        import torch

        x = scaled_difference(rows, self.config.input_scales[0])
        return _gated(torch.addmm(self.b_enc, x - self.b_dec, self.w_enc), self.config.threshold)

    def read(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = SIDES,
    ) -> Reading:
        f = self.encode(rows)
        activity = {side: self.projection(rows[side]) * (f > 0) for side in sides}
        rebuilt = ((f * self.polarity) @ self.w_dec + self.b_dec) * self.config.input_scales[0]
        return Reading(activity, {}, rebuilt)

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        d, m = config.d_model, config.n_latents
        return {"W_enc": (d, m), "b_enc": (m,), "b_dec": (d,), "polarity": (m,), "centre": (d,)}


@dataclass(frozen=True)
class Pca(DifferenceDictionary):
    """The difference's principal components, each with both signs: latents j and j + m/2 are opposite."""

    def read(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = SIDES,
    ) -> Reading:
        components = self.w_dec[: len(self.w_dec) // 2]
        difference = scaled_difference(rows, 1.0) @ components.T @ components if len(sides) == 2 else None
        return Reading({side: self.projection(rows[side]) for side in sides}, {}, difference)

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        return {"centre": (config.d_model,)}


@dataclass(frozen=True)
class MeanDiff(DifferenceDictionary):
    """The mean difference of each position class: one latent a class, open at the class's rows."""

    shift: torch.Tensor  # (m, d) raw units: mean of second - first; zero for a class without rows

    def read(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = SIDES,
    ) -> Reading:
        import torch

        here = torch.nn.functional.one_hot(classes, self.config.n_latents)  # (n, m)
        return Reading({side: self.projection(rows[side]) * here for side in sides}, {}, self.shift[classes])

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        return {"centre": (config.d_model,), "shift": (config.n_latents, config.d_model)}


KINDS: dict[str, type[Dictionary]] = {
    "paired_sae": PairedSae,
    "pretrained": PairedSae,
    "crosscoder": Crosscoder,
    "diff_sae": DiffSae,
    "pca": Pca,
    "mean_diff": MeanDiff,
}


def load_dictionary(folder: Path) -> Dictionary:
    """Reads a dictionary folder.

    Raises:
        AnalysisError: a file is missing, the kind is unknown, or a tensor's shape contradicts the configuration.
    """
    config, tensors = load_folder(folder)
    if config.kind not in KINDS:
        raise AnalysisError(f"The dictionary {folder} is of kind {config.kind!r}; known: {', '.join(KINDS)}.")
    kind = KINDS[config.kind]
    width = config.d_model if config.same_width else config.d_model + config.d_second
    expected = {"W_dec": (config.n_latents, width), **kind.shapes(config)}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        raise AnalysisError(
            f"The dictionary {folder} has tensors {found}, but its configuration says {expected}."
        )
    return kind(config, **{f.name: tensors[_file_name(f.name)] for f in fields(kind) if f.name != "config"})


def scaled_difference(rows: tuple[torch.Tensor, torch.Tensor], scale: float) -> torch.Tensor:
    """(n, d) float32, (second - first) / scale."""
    import torch

    return (rows[1].to(torch.float32) - rows[0].to(torch.float32)) / scale


def project(x: torch.Tensor, scale: float, centre: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """(n, m) signed projections <x / scale - centre, d_j> of raw activations (n, d)."""
    import torch

    return (x.to(torch.float32) / scale - centre) @ directions.T


def _gated(pre: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    return pre.relu() * (pre > threshold)


def _file_name(field: str) -> str:
    return field.replace("w_", "W_")
