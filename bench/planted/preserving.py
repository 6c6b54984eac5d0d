"""Edits that change a llama-like model's weights but not its function, written as local model folders.

Both are exact in real numbers: only the order of sums changes, so all that remains is rounding.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS = "model.safetensors"
READS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
"""Modules whose weight has the residual stream as its columns."""
WRITES = ("o_proj", "down_proj")
"""Modules whose weight has the residual stream as its rows."""

Edit = Callable[[str, Tensor], Tensor]


def permute_neurons(source: Path, folder: Path, seed: int) -> Path:
    """A copy of a model folder with the MLP neurons of each layer permuted; its residual stream is unchanged."""
    orders: dict[tuple[str, int], Tensor] = {}

    def order(name: str, size: int) -> Tensor:
        layer = name.rpartition(".mlp.")[0]
        if (layer, size) not in orders:
            orders[layer, size] = torch.randperm(size, generator=_generator(seed, len(orders)))
        return orders[layer, size]

    def edit(name: str, weight: Tensor) -> Tensor:
        if module_of(name) in ("gate_proj", "up_proj"):
            return weight[order(name, weight.shape[0])]
        if module_of(name) == "down_proj":
            return weight[:, order(name, weight.shape[1])]
        return weight

    return copy_edited(source, folder, edit)


def turn_basis(source: Path, folder: Path, seed: int) -> Path:
    """A copy with the residual stream permuted and given random signs, carried through all weights.

    A norm's weight is only permuted: the signs pass through it.
    """
    width = load_file(source / WEIGHTS)["model.norm.weight"].shape[0]
    order = torch.randperm(width, generator=_generator(seed, 0))
    signs = torch.randint(0, 2, (width,), generator=_generator(seed, 1)) * 2 - 1

    def edit(name: str, weight: Tensor) -> Tensor:
        module = module_of(name) if name.endswith(".weight") else ""
        if module in READS:
            return weight[:, order] * signs.to(weight.dtype)
        if module in WRITES:
            return weight[order] * signs.to(weight.dtype)[:, None]
        if module.endswith("norm") and weight.shape == (width,):
            return weight[order]
        raise ValueError(f"{name} is not known here, so its basis cannot be turned")

    return copy_edited(source, folder, edit)


def module_of(name: str) -> str:
    """`up_proj` of model.layers.3.mlp.up_proj.weight."""
    return name.split(".")[-2]


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(1_000 * seed + number)


def copy_edited(source: Path, folder: Path, edit: Edit) -> Path:
    """Writes the edited folder; a complete one is reused."""
    if (folder / WEIGHTS).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file() and file.suffix != ".safetensors":
            shutil.copyfile(file, folder / file.name)
    edited = {name: edit(name, weight).contiguous() for name, weight in load_file(source / WEIGHTS).items()}
    draft = folder / (WEIGHTS + ".draft")
    save_file(edited, draft, metadata={"format": "pt"})
    draft.replace(folder / WEIGHTS)
    return folder
