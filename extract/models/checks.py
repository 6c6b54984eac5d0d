"""Refuses weights that cannot be read as the model that they are meant to be: before loading, and after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.models.fingerprint import read_header
from extract.models.hub import weight_files
from extract.models.references import Source
from fi_store.errors import ModelError
from fi_store.wording import count, size

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from extract.models.precision import Precision

BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8, "nf4": 4}
"""Bits of a weight in memory."""


def check_memory(source: Source, device: torch.device, precision: Precision, *, stored: bool) -> None:
    """Refuses a model whose weights alone need more memory than is free. `stored`: they are loaded as the files are.

    Raises:
        ModelError: a smaller precision, or none, is the way out.
    """
    files = weight_files(source.folder, source.reference.text)
    if stored:
        needed = sum(file.stat().st_size for file in files)
    else:
        n_elements = sum(entry.n_elements for file in files for entry in read_header(file))
        needed = n_elements * BITS[precision.quantization] // 8
    free = free_memory(device)
    if free is not None and needed > free:
        smaller = not stored and precision.quantization != "nf4"
        raise ModelError(
            f"The weights of {source.reference.text} need {size(needed)} of memory in {precision.quantization}, and "
            f"{size(free)} is free.",
            hint="Use --quantization nf4, or a smaller model." if smaller else "Use a smaller model.",
        )


def check_loaded(source: Source, model: nn.Module, report: dict[str, Any]) -> list[str]:
    """Accounts for every tensor that transformers reports on. Returns sentences about those that it does not use.

    Raises:
        ModelError: tensors are missing, of another shape than the configuration's, or not finite.
    """
    text = source.reference.text
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would fill them with random numbers
        raise ModelError(
            f"The weights of {text} lack {count(len(missing), 'tensor')} ({missing[0]}).",
            hint="Download it again, or check that it is a causal language model.",
        )
    for name, stored, expected in sorted(report["mismatched_keys"]):
        raise ModelError(
            f"{name} of {text} has shape {times(stored)}, and its configuration makes it {times(expected)}.",
            hint="Download it again: the weights and config.json are not of the same model.",
        )
    _check_finite(text, model)
    unused = sorted(report["unexpected_keys"])
    if not unused:
        return []
    return [
        f"{count(len(unused), 'tensor')} of {text} ({unused[0]}) have no place in a {type(model).__name__} and are "
        "not used."
    ]


def _check_finite(text: str, model: nn.Module) -> None:
    for name, tensor in _numbers(model):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(
                f"The weights of {text} hold numbers that are not finite ({name}).",
                hint="Use an earlier checkpoint, or --quantization fp32 if they only overflow in a narrow type.",
            )


def _numbers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and the scales of those that bitsandbytes has packed."""
    for name, parameter in model.named_parameters():
        yield name, parameter
        state = getattr(parameter, "quant_state", None)
        nested = getattr(state, "state2", None)  # the scales' own scales
        for scales in (
            getattr(parameter, "SCB", None),
            *(getattr(each, "absmax", None) for each in (state, nested)),
        ):
            if scales is not None:
                yield f"the scales of {name}", scales


def check_nf4_widths(source: Source, model: nn.Module, *, stored: bool) -> None:
    """bitsandbytes' CPU kernels need whole blocks: d_in must be a multiple of 64, d_out of 32."""
    for path, module in model.named_modules():
        if type(module).__name__ != "Linear4bit":
            continue
        d_in, d_out = getattr(module, "in_features", 0), getattr(module, "out_features", 0)
        if d_in % 64 or d_out % 32:
            raise ModelError(
                f"{source.reference.text} cannot be read as nf4 on the CPU: {path} is {d_in}x{d_out}, but whole "
                "blocks of 64x32 are needed.",
                hint="Use the model before it was quantized."
                if stored
                else "Use --quantization int8 or auto.",
            )


def times(shape: tuple[int, ...]) -> str:
    """A shape as it is read: 48x32."""
    return "x".join(str(length) for length in shape) or "no dimensions"


def free_memory(device: torch.device) -> int | None:
    """Free bytes of the accelerator, or of this machine if its system reports them."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None
