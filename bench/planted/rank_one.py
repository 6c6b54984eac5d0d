"""Rank-one edits of a known layer, written as LoRA folders: along which direction they push, when, and how hard.

The edited layer adds `size (v . z) u` to the residual stream, where z is the input of its down projection (the MLP's
inner activations). v is a trigger: the difference between the mean of z over one category's prompts and over the rest,
without its part along the rest's mean, scaled to length 1. So the push is zero on the rest's average token, and its
sign in the category is that of `size`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from extract.models import load_pair
from extract.texts import choose_rendering, make_tokenizers
from fi_store.prompts import PromptRecord

DOWN = "model.layers.{layer}.mlp.down_proj"


@dataclass(frozen=True)
class Trigger:
    """When an edit acts. `level` is the mean of v . z over the category's tokens, `length` the mean of ||h|| there."""

    category: str
    v: Tensor  # (d_inner,) unit length
    level: float
    length: float


@dataclass(frozen=True)
class Inside:
    """What a layer computes at the user's words of prompts: `inner` (n, d_inner), and `residual` (n, d) after it."""

    inner: Tensor
    residual: Tensor
    categories: list[str]  # (n,)


@torch.inference_mode()
def read_inside(base: str, prompts: Sequence[PromptRecord], layer: int, cache_dir: Path | None) -> Inside:
    """Runs the base on the rendered prompts."""
    pair = load_pair(base, base, cache_dir=cache_dir, note=lambda _: None)
    texts = [prompt.text for prompt in prompts]
    rendering, _ = choose_rendering(pair, texts)
    encode = make_tokenizers(pair, rendering, texts).encode
    module = pair.base.layers[layer]
    inner: list[Tensor] = []
    residual: list[Tensor] = []
    categories: list[str] = []
    down: Any = module.get_submodule("mlp.down_proj")
    hooks = [
        down.register_forward_pre_hook(lambda _, given: inner.append(given[0])),
        module.register_forward_hook(
            lambda _, __, made: residual.append(made[0] if isinstance(made, tuple) else made)
        ),
    ]
    try:
        for prompt in prompts:
            rendered = rendering.render(prompt.text)
            text = encode("base", rendered, "")
            kept = [
                at
                for at, end in enumerate(text.ends)
                if rendered.base.content_start < end <= rendered.base.content_end
            ]
            with pair.base.active() as active:
                model: Any = active
                model(input_ids=torch.tensor([text.ids], device=pair.device), use_cache=False)
            inner[-1], residual[-1] = (part[-1][0, kept].float().cpu() for part in (inner, residual))
            categories += [prompt.category] * len(kept)
    finally:
        for hook in hooks:
            hook.remove()
    return Inside(torch.cat(inner), torch.cat(residual), categories)


def make_trigger(inside: Inside, category: str) -> Trigger:
    """The trigger of one of the categories that were read."""
    own = torch.tensor([name == category for name in inside.categories])
    rest = inside.inner[~own].mean(0)
    difference = inside.inner[own].mean(0) - rest
    v = difference - rest * (difference @ rest) / (rest @ rest)
    v = v / v.norm()
    level = float((inside.inner[own] @ v).mean())
    return Trigger(category, v, level, float(inside.residual[own].norm(dim=1).mean()))


def random_direction(width: int, seed: int) -> Tensor:
    """(width,) a random direction of length 1."""
    u: Tensor = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return u.div(u.norm())


def write_edit(folder: Path, base: str, layer: int, trigger: Trigger, u: Tensor, size: float) -> Path:
    """Writes the adapter; its mean push over the category's tokens is `size` times the residual stream's length."""
    scale = size * trigger.length / trigger.level
    module = DOWN.format(layer=layer)
    tensors = {
        f"base_model.model.{module}.lora_A.weight": trigger.v[None, :].float().contiguous(),
        f"base_model.model.{module}.lora_B.weight": (scale * u)[:, None].float().contiguous(),
    }
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": 1, "lora_alpha": 1,
        "lora_dropout": 0.0, "bias": "none", "target_modules": [module], "inference_mode": True,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder
