"""LoRA adapter folders: reads them without trusting their configuration, checks that they fit, adds them unmerged.

Merging into bf16 weights would add rounding noise of about 1.7% of the activations' norm (METHOD section 4), so an
adapter stays separate from its base and is switched on and off. Only the settings in `USED` are passed on from
adapter_config.json to peft. Those in `INERT` matter only for training. Any other setting that is switched on is
refused, because peft might import a module, fetch a file or change the base's weights for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from extract.models.checks import times
from extract.models.fingerprint import TensorEntry, json_hash, read_header, tensors_hash, text_hash
from extract.models.quiet import quiet_libraries
from fi_store.errors import ModelError

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter_model.safetensors"
USED = (
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "fan_in_fan_out",
    "lora_bias",
)
"""Settings that determine what the adapter computes. They are part of its fingerprint."""
INERT = {
    "auto_mapping", "base_model_name_or_path", "revision", "peft_type", "peft_version", "task_type", "inference_mode",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "lora_dropout",
    "init_lora_weights", "bias", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_config",
    "megatron_core", "runtime_config", "qalora_group_size", "ensure_weight_tying",
}  # fmt: skip
"""Settings that are not passed on. Which modules are adapted is read from the tensors' names instead."""
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations that also change the base's weights, so the adapter fits only the changed base."""
MERGE_HINT = "Merge it into its base with peft (merge_and_unload, save_pretrained) and use that folder."

FROZEN = "base_layer.weight"
"""peft also saves the unchanged weight of an adapted embedding. It must fit, but it is not loaded."""
_PREFIX = "base_model.model."
_PARTS = (f".{FROZEN}", ".lora_A.weight", ".lora_B.weight", ".lora_B.bias", ".lora_embedding_A", ".lora_embedding_B",
          ".lora_magnitude_vector.weight", ".lora_magnitude_vector")  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """A LoRA folder, read but not loaded. `modules` are paths in the base, `replaced` paths of whole new weights."""

    path: Path
    base_name: str | None
    settings: dict[str, Any]
    tensors: tuple[TensorEntry, ...]
    modules: tuple[str, ...]
    replaced: tuple[str, ...]

    @property
    def n_parameters(self) -> int:
        """Elements of the stored tensors."""
        return sum(entry.n_elements for entry in self.tensors if split_name(entry.name)[1] != FROZEN)

    def fingerprint(self, base_hash: str) -> str:
        """SHA-256 over the base's weights hash, the adapter's tensors and the settings in `USED`."""
        return text_hash(f"{base_hash}\n{tensors_hash([self.path / WEIGHTS])}\n{json_hash(self.settings)}")


def read_adapter(path: Path) -> Adapter:
    """Reads the configuration and the tensor header of an adapter folder.

    Raises:
        ModelError: not JSON, not LoRA, pickled weights, a setting that cannot be honored safely.
    """
    file = path / "adapter_config.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error}).") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{file} is not a JSON object.")
    _refuse_unsafe(path, raw)
    if not (path / WEIGHTS).is_file():
        pickled = (
            " (only a pickled adapter_model.bin, which is never opened)" if list(path.glob("*.bin")) else ""
        )
        raise ModelError(
            f"The adapter {path} has no {WEIGHTS}{pickled}.", hint=f"Save it again with peft as {WEIGHTS}."
        )
    tensors = tuple(read_header(path / WEIGHTS))
    modules: set[str] = set()
    replaced: set[str] = set()
    for entry in tensors:
        module, part = split_name(entry.name)
        if part != FROZEN:
            (replaced if part in ("weight", "bias") else modules).add(module)
    base_name = raw.get("base_model_name_or_path")
    settings = {key: raw.get(key) for key in USED} | {"modules_to_save": sorted(replaced)}
    return Adapter(
        path, str(base_name) if base_name else None, settings, tensors, _sorted(modules), _sorted(replaced)
    )


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _refuse_unsafe(path: Path, raw: dict[str, Any]) -> None:
    kind = str(raw.get("peft_type"))
    if kind != "LORA":
        raise ModelError(
            f"The adapter {path} is of kind {kind}. Only LoRA adapters can be read.", hint=MERGE_HINT
        )
    initialization = raw.get("init_lora_weights")
    if isinstance(initialization, str) and initialization.lower().startswith(CHANGES_BASE):
        raise ModelError(
            f"The adapter {path} was initialized with {initialization!r}, which changes the base's weights.",
            hint=MERGE_HINT,
        )
    if raw.get("bias") not in (None, "none"):
        raise ModelError(
            f"The adapter {path} replaces the base's biases, so it cannot be switched off.", hint=MERGE_HINT
        )
    unsupported = sorted(key for key, value in raw.items() if value and key not in INERT and key not in USED)
    if unsupported:
        raise ModelError(
            f"The adapter {path} uses {', '.join(unsupported)}, which is not supported.", hint=MERGE_HINT
        )
    if not isinstance(raw.get("r"), int) or not isinstance(raw.get("lora_alpha"), int | float):
        raise ModelError(f"{path / 'adapter_config.json'} has no rank r or no lora_alpha.")


def split_name(tensor: str) -> tuple[str, str]:
    """Splits a tensor's name into a module path in the base and a part ("lora_A.weight", ..., "weight" if replaced)."""
    inner = tensor.removeprefix(_PREFIX)
    for part in _PARTS:
        if inner.endswith(part):
            return inner.removesuffix(part), part[1:]
    module, _, last = inner.rpartition(".")
    return module.removesuffix(".modules_to_save"), last


class Misfit(NamedTuple):
    """Why an adapter does not fit a base, as a clause. `resized`: only the rows of the embeddings differ."""

    clause: str
    resized: bool = False


def misfit(adapter: Adapter, model: Any) -> Misfit | None:
    """Why the adapter's tensors do not fit the loaded base; None if all shapes fit."""
    modules = dict(model.named_modules())
    ranks: dict[str, set[int]] = {}
    for entry in adapter.tensors:
        path, part = split_name(entry.name)
        module = modules.get(path)
        if module is None:
            return Misfit(f"the base has no module {path}")
        sizes = _sizes(module)
        if sizes is None:
            return Misfit(f"{path} ({type(module).__name__}) is not a layer that LoRA can change")
        expected, rank = _expected(part, entry.shape, *sizes)
        if rank is not None:
            ranks.setdefault(path, set()).add(rank)
        if entry.shape != expected:
            clause = f"{entry.name} has shape {times(entry.shape)}, the base needs {times(expected)}"
            embeddings = model.get_input_embeddings(), model.get_output_embeddings()
            return Misfit(clause, resized=any(module is embedding for embedding in embeddings))
        if len(ranks.get(path, ())) > 1:
            return Misfit(f"the two matrices of {path} have different ranks")
    return None


def _sizes(module: Any) -> tuple[int, int] | None:
    """(d_in, d_out) of a linear layer or an embedding. Quantized layers keep these attributes."""

    from torch import nn

    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return int(module.in_features), int(module.out_features)
    if hasattr(module, "nx") and hasattr(module, "nf"):  # transformers' Conv1D
        return int(module.nx), int(module.nf)
    return None


def _expected(part: str, shape: tuple[int, ...], d_in: int, d_out: int) -> tuple[tuple[int, ...], int | None]:
    """The shape that a part must have, and the rank that it implies (taken from the tensor itself)."""
    first, last = (shape[0], shape[-1]) if shape else (0, 0)
    if part in ("lora_A.weight", "lora_embedding_A"):
        return (first, d_in), first
    if part in ("lora_B.weight", "lora_embedding_B"):
        return (d_out, last), last
    if part in ("weight", FROZEN):  # linear weights are (out, in), embeddings (rows, width)
        return ((d_out, d_in) if shape != (d_in, d_out) else shape), None
    return (d_out,), None


def attach(model: Any, adapter: Adapter, name: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Adds the adapter under `name`, switched off, and returns the PeftModel around `model`.

    `model` is a transformers model, or the PeftModel of an earlier adapter. The adapter's matrices have type `dtype`.

    Raises:
        ModelError: a number is not finite, or peft does not load every tensor.
    """
    from safetensors.torch import load_file

    with quiet_libraries():  # peft imports bitsandbytes, which logs missing GPU kernels
        from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict

    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    settings = {key: value for key, value in adapter.settings.items() if value is not None}
    settings["modules_to_save"] = list(adapter.replaced) or None
    config = LoraConfig(
        **settings,
        target_modules=list(adapter.modules),
        task_type="CAUSAL_LM",
        inference_mode=True,
        lora_dropout=0.0,
    )
    wrapped: Any
    stored = load_file(adapter.path / WEIGHTS)
    tensors = {
        key: tensor.to(device, dtype) for key, tensor in stored.items() if split_name(key)[1] != FROZEN
    }
    for key, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(
                f"The adapter {adapter.path} holds numbers that are not finite ({key}).",
                hint="Use an earlier checkpoint, or --quantization fp32 if they only overflow in a narrow type.",
            )
    with quiet_libraries():
        if isinstance(model, PeftModel):
            wrapped = model
            wrapped.add_adapter(name, config, low_cpu_mem_usage=True, autocast_adapter_dtype=False)
        else:
            wrapped = get_peft_model(
                plain, config, name, autocast_adapter_dtype=False, low_cpu_mem_usage=True
            )
        result: Any = set_peft_model_state_dict(wrapped, tensors, name, low_cpu_mem_usage=True)
        switch(wrapped, [])
    unset = [key for key, parameter in wrapped.named_parameters() if parameter.is_meta]
    if result.unexpected_keys or unset:
        example = (list(result.unexpected_keys) + unset)[0]
        raise ModelError(
            f"The adapter {adapter.path} does not fill peft's layers (for example {example}).",
            hint=MERGE_HINT,
        )
    wrapped.requires_grad_(False)
    return wrapped.eval()


def switch(model: Any, names: list[str]) -> None:
    """Activates these adapters of a PeftModel and no others. An empty list leaves the plain weights."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    if names:
        model.base_model.set_adapter(names, inference_mode=True)
        return
    # peft's own function rejects an empty list when whole modules were replaced.
    for module in model.modules():
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            module.set_adapter([], inference_mode=True)
    model.base_model.active_adapter = []
