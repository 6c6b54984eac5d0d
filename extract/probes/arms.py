"""Reads the files of arms: what a patch does at which rows, and how it goes on in text that is not written yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fi_store.dictionaries import Dictionary, load_dictionary
from fi_store.errors import ExtractionError
from fi_store.vocabulary import SIDES, Side

TENSORS = {
    "rows": (torch.int64, 1),
    "coefficients": (torch.float32, 2),
    "directions": (torch.float32, 2),
    "latents": (torch.int64, 1),
}
"""The tensors of an arm's file, with their types and numbers of dimensions. The last two may be absent."""


@dataclass(frozen=True)
class Arm:
    """A patch of one site and layer. Its vectors lead from the base's activations towards the target's.

    rows: (r,) int64, ascending. coefficients: (r, k) float32. directions: (k, d_model) float32, or None if the
    coefficients are the vectors. latents: (k,) int64, the latents of a dictionary that the directions belong to; -1 for
    one that does not act in the answer.
    """

    path: Path
    site: str
    layer: int
    rows: Tensor
    coefficients: Tensor
    directions: Tensor | None
    latents: Tensor | None
    metadata: Mapping[str, str]

    @property
    def d_model(self) -> int:
        """The width of the vectors."""
        return (self.coefficients if self.directions is None else self.directions).shape[1]

    def vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Which of `rows` (n,) the arm patches (n,) bool, and its vectors there (k, d_model) float32."""
        if not len(self.rows):
            return torch.zeros(len(rows), dtype=torch.bool), torch.zeros(0, self.d_model)
        at = torch.searchsorted(self.rows, rows.contiguous()).clamp(max=len(self.rows) - 1)
        patched = self.rows[at] == rows
        found = self.coefficients[at[patched]]
        return patched, found if self.directions is None else found @ self.directions


def load_arm(path: Path, site: str, layer: int, d_model: int) -> Arm:
    """The arm in a safetensors file.

    Raises:
        ExtractionError: the file is missing or damaged, or does not fit a model of this width.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ExtractionError(f"The arm {path} cannot be read: {error}.", hint="fi-store doctor") from error
    for problem in _problems(tensors, d_model):
        raise ExtractionError(f"The arm {path} cannot be used: {problem}.", hint="fi-store doctor")
    return Arm(
        path,
        site,
        layer,
        tensors["rows"],
        tensors["coefficients"],
        tensors.get("directions"),
        tensors.get("latents"),
        metadata,
    )


def _problems(tensors: Mapping[str, Tensor], d_model: int) -> list[str]:
    """What is wrong with the tensors of an arm."""
    if not {"rows", "coefficients"} <= tensors.keys() <= TENSORS.keys():
        return [f"it holds {', '.join(sorted(tensors)) or 'nothing'}"]
    found = [
        f"{name} is {tensor.ndim}-dimensional {tensor.dtype}"
        for name, tensor in tensors.items()
        if (tensor.dtype, tensor.ndim) != TENSORS[name]
    ]
    if found:
        return found
    rows, coefficients = tensors["rows"], tensors["coefficients"]
    directions, latents = tensors.get("directions"), tensors.get("latents")
    if len(rows) != len(coefficients):
        found.append(f"{len(rows)} rows have {len(coefficients)} coefficients")
    if bool((rows[1:] <= rows[:-1]).any()):
        found.append("its rows do not ascend")
    if directions is not None and len(directions) != coefficients.shape[1]:
        found.append(f"{len(directions)} directions have {coefficients.shape[1]} coefficients")
    width = (coefficients if directions is None else directions).shape[1]
    if width != d_model:
        found.append(f"its vectors are {width} wide, the model is {d_model}")
    if latents is not None and (directions is None or len(latents) != len(directions)):
        found.append("its latents are not as many as its directions")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        found.append("it holds values that are not finite")
    return found


@dataclass(frozen=True)
class FeaturePatch:
    """An arm's features, encoded from both models' activations at tokens that no stored row belongs to."""

    dictionary: Dictionary
    first: Side  # the dictionary's first model
    latents: Tensor  # (k,) int64
    directions: Tensor  # (k, d_model) float32

    @torch.inference_mode()
    def vectors(self, activations: Mapping[Side, Tensor], classes: Tensor) -> Tensor:
        """(n, d_model) float32 on the CPU, from both models' activations (n, d_model) at n tokens of the answer.

        classes: (n,) int64, the index of each token's position class.
        """
        second = SIDES[1 - SIDES.index(self.first)]
        rows = activations[self.first].cpu(), activations[second].cpu()
        encoded = self.dictionary.encode_pair(rows, classes)
        difference = encoded.activity[1] - encoded.activity[0]
        towards_target = difference if second == "target" else -difference
        vectors: Tensor = towards_target[:, self.latents] @ self.directions
        return vectors


@dataclass(frozen=True)
class ControlPatch:
    """A direction with the size of a feature patch at every token."""

    like: FeaturePatch
    directions: Tensor  # (1, d_model) float32
    sign: float

    @cached_property
    def direction(self) -> Tensor:
        """(1, d_model), of length 1."""
        return torch.nn.functional.normalize(self.directions, dim=1)

    def vectors(self, activations: Mapping[Side, Tensor], classes: Tensor) -> Tensor:
        """(n, d_model) float32 on the CPU."""
        sizes: Tensor = torch.linalg.vector_norm(self.like.vectors(activations, classes), dim=1, keepdim=True)
        return self.sign * sizes * self.direction


def live_patch(folder: Path, arm: Arm) -> FeaturePatch | ControlPatch:
    """How an arm goes on in text that is not written yet. Paths in its file are relative to `folder`.

    Raises:
        ExtractionError: its file does not tell.
        AnalysisError: its dictionary cannot be read.
    """
    about = arm.metadata
    if arm.latents is not None and arm.directions is not None and about.get("side_first") in SIDES:
        dictionary = load_dictionary(folder / about.get("dictionary", ""))
        if bool(((arm.latents < -1) | (arm.latents >= dictionary.config.n_latents)).any()):
            raise ExtractionError(f"The arm {arm.path} names latents that its dictionary does not have.")
        first: Side = "base" if about["side_first"] == "base" else "target"
        acting = arm.latents >= 0
        return FeaturePatch(dictionary, first, arm.latents[acting], arm.directions[acting])
    sign = {"1": 1.0, "-1": -1.0}.get(about.get("sign", "").removesuffix(".0").removeprefix("+"))
    if "like" in about and sign is not None and arm.directions is not None and len(arm.directions) == 1:
        if not bool(arm.directions.any()):
            raise ExtractionError(f"The arm {arm.path} has a direction of length 0.")
        like = live_patch(folder, load_arm(folder / about["like"], arm.site, arm.layer, arm.d_model))
        if isinstance(like, FeaturePatch):
            return ControlPatch(like, arm.directions, sign)
    raise ExtractionError(
        f"The arm {arm.path} does not tell how it goes on in new answers: it has neither latents of a dictionary nor"
        " one direction like an arm that has them."
    )
