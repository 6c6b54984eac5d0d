"""Shams of pairs that share one loaded model and differ by LoRA adapters: one more adapter, shuffled and scaled.

The difference of the other model from the anchor is B_o A_o - B_a A_a (either may be absent), of rank r_o + r_a;
permuting and flipping rows of B and columns of A shuffles the product's rows and columns. The anchor's own adapter
stays active beside the sham's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from extract.models import ModelReference, switch
from extract.reading import Readable
from extract.shams.shuffle import Shuffle

if TYPE_CHECKING:
    from extract.models import Reader


def why_no_lora_sham(base: Reader, target: Reader) -> str | None:
    """The reason why a pair on one loaded model can have no sham; None if it can."""
    for reader in (base, target):
        if reader.adapter is None:
            continue
        model: Any = reader.model
        settings = model.peft_config[reader.adapter]
        if str(getattr(settings.peft_type, "value", settings.peft_type)) != "LORA":
            return f"{reader.reference.text} is an adapter of kind {settings.peft_type}, not LoRA"
        if settings.use_dora or settings.modules_to_save or settings.bias != "none":
            return f"{reader.reference.text} changes more than LoRA matrices"
        if not all(
            hasattr(layer, "lora_A") and reader.adapter in layer.lora_A for layer in _adapted(reader).values()
        ):
            return f"{reader.reference.text} adapts modules that are not linear"
    return None


@contextmanager
def lora_sham(
    anchor: Reader, other: Reader, shuffle: Shuffle, name: str
) -> Iterator[tuple[Readable, Callable[[float], None]]]:
    """Adds the sham as an adapter, yields it as a reader with the function that sets its scale, and removes it."""
    from peft import LoraConfig

    model: Any = anchor.model
    factors = _difference(anchor, other)
    rank = max(b.shape[1] for b, _ in factors.values())
    before = list(model.active_adapters)
    settings = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(factors),
        lora_dropout=0.0,
        bias="none",
        inference_mode=True,
        init_lora_weights=False,
    )
    model.add_adapter(name, settings, autocast_adapter_dtype=False)
    try:
        layers = {path: model.base_model.model.get_submodule(path) for path in factors}
        for path, (b, a) in factors.items():
            _fill(layers[path], name, shuffle.along(path, "rows", b, 0), shuffle.along(path, "columns", a, 1))
        active = [adapter for adapter in (anchor.adapter, name) if adapter is not None]

        def set_scale(scale: float) -> None:
            for layer in layers.values():
                layer.scaling[name] = scale

        set_scale(1.0)
        switch(model, before)  # adding an adapter may switch it on
        reference = replace(anchor.reference, text=f"{name} of {anchor.reference.text}")
        yield _WithAdapters(reference, anchor, active), set_scale
    finally:
        switch(model, before)
        model.delete_adapter(name)


@dataclass(frozen=True)
class _WithAdapters:
    """The shared model with some adapters switched on."""

    reference: ModelReference
    anchor: Reader = field(repr=False)
    adapters: list[str]

    @property
    def layers(self) -> Sequence[nn.Module]:
        return self.anchor.layers

    @contextmanager
    def active(self) -> Iterator[Any]:
        model: Any = self.anchor.model
        before = list(model.active_adapters)
        switch(model, self.adapters)
        try:
            yield self.anchor.plain
        finally:
            switch(model, before)


def _adapted(reader: Reader) -> dict[str, Any]:
    """Path -> LoRA layer, for every module that this reader's adapter changes."""
    from peft.tuners.lora import LoraLayer

    found: dict[str, Any] = {}
    for path, module in reader.plain.named_modules():
        if isinstance(module, LoraLayer) and reader.adapter in (*module.lora_A, *module.lora_embedding_A):
            found[path] = module
    return found


def _difference(anchor: Reader, other: Reader) -> dict[str, tuple[Tensor, Tensor]]:
    """Path -> factors (d_out, r) and (r, d_in) in float32 whose product is the other's weight minus the anchor's."""
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for reader, sign in ((other, 1.0), (anchor, -1.0)):
        if reader.adapter is None:
            continue
        for path, layer in _adapted(reader).items():
            b = layer.lora_B[reader.adapter].weight.detach().float()
            a = layer.lora_A[reader.adapter].weight.detach().float()
            parts.setdefault(path, []).append((sign * layer.scaling[reader.adapter] * b, a))
    return {
        path: (torch.cat([b for b, _ in pieces], 1), torch.cat([a for _, a in pieces], 0))
        for path, pieces in parts.items()
    }


@torch.no_grad()
def _fill(layer: Any, name: str, b: Tensor, a: Tensor) -> None:
    """Writes the factors into an adapter's weights; ranks beyond theirs stay zero."""
    left, right = layer.lora_B[name].weight, layer.lora_A[name].weight
    left.zero_()
    right.zero_()
    left[:, : b.shape[1]] = b.to(left)
    right[: a.shape[0]] = a.to(right)
