"""Chooses the device and the precision of a pair, each with a sentence that gives the reason."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fi_store.errors import UsageError

if TYPE_CHECKING:
    import torch

PROBE_ROWS = 512
"""Tokens in the timed product: about one small batch."""
PROBE_LIMIT = 4096
"""Larger widths are timed at this width: the ratio of speeds no longer changes, only the time that it takes."""
PROBE_REPEATS = 7
TOO_SMALL = 1 << 16
"""With fewer elements in a weight matrix, a product's time is overhead and no type is faster."""
WORTH = 1.2
"""How many times as fast as float32 a narrower type must be to be chosen, since it rounds to 8 or 11 bits."""
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""fi-store's name of a type -> torch's name."""


@dataclass(frozen=True)
class Precision:
    """`dtype` is the type to compute in, `quantization` how weights are stored: fp32, fp16, bf16, int8 or nf4.

    `requested`: the user asked for this one, so that a model that is stored in another way cannot be read.
    """

    dtype: torch.dtype
    quantization: str
    reason: str
    requested: bool = True


def choose_device(requested: str) -> tuple[torch.device, str]:
    """The device and the reason. `auto` prefers CUDA to Apple's MPS and MPS to the CPU.

    Raises:
        UsageError: torch does not find the requested device.
    """
    import torch

    if requested == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"device: cuda ({torch.cuda.get_device_name()})"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "device: mps (torch finds Apple's GPU and no CUDA device)"
        return torch.device("cpu"), "device: cpu (torch finds neither a CUDA device nor Apple's MPS)"
    try:
        device = torch.device(requested)
    except RuntimeError as error:
        raise UsageError(
            f"--device {requested} is not a device.", hint="Use auto, cpu, cuda, cuda:N or mps."
        ) from error
    missing = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise UsageError(f"--device {requested}: torch finds no such device.", hint="Use --device auto.")
    return device, f"device: {requested} (as requested)"


def choose_precision(
    requested: str, device: torch.device, d_in: int, d_out: int, before: str | None = None
) -> Precision:
    """The precision for a model with matrices of about (d_in, d_out): the requested one, or the fastest.

    Finding the fastest type takes less than a second. int8 and nf4 store the weights through bitsandbytes and compute
    in the fastest type. `before` is the type in which an earlier part of the run computed: it is used again, whatever
    would be fastest today.
    """
    if requested in DTYPES:
        return Precision(_dtype(requested), requested, f"{requested}: as requested")
    name, reason = (before, f"{before}: as before") if before is not None else _fastest(device, d_in, d_out)
    if requested == "auto":
        return Precision(_dtype(name), name, reason, requested=False)
    return Precision(
        _dtype(name), requested, f"{requested}: as requested (bitsandbytes), computing in {reason}"
    )


def _dtype(name: str) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, DTYPES[name])
    return dtype


def _fastest(device: torch.device, d_in: int, d_out: int) -> tuple[str, str]:
    """The name of the fastest type, and the reason."""
    import torch

    if d_in * d_out < TOO_SMALL:
        return "fp32", f"fp32: matrices of {d_in}x{d_out} are too small for another type to be faster"
    shape = (PROBE_ROWS, min(d_in, PROBE_LIMIT), min(d_out, PROBE_LIMIT))
    product = "x".join(str(size) for size in shape)
    where = "this CPU" if device.type == "cpu" else f"this {device.type} device"
    seconds = {"fp32": product_seconds(device, torch.float32, shape)}
    for name in ("bf16", "fp16") if device.type == "cuda" else ("bf16",):
        if (
            name == "bf16"
            and device.type == "cuda"
            and not torch.cuda.is_bf16_supported(including_emulation=False)
        ):
            continue
        try:
            seconds[name] = product_seconds(device, _dtype(name), shape)
        except (RuntimeError, TypeError):  # the backend has no such kernel
            continue
    ratio = {name: seconds["fp32"] / value for name, value in seconds.items()}
    best = max(ratio, key=lambda name: ratio[name])
    if "bf16" in ratio and ratio["bf16"] >= WORTH and ratio["bf16"] >= 0.9 * ratio[best]:
        best = "bf16"  # fp16 overflows where bf16 does not, so fp16 must be clearly faster
    if ratio[best] >= WORTH:
        return best, f"{best}: {ratio[best]:.1f}x the speed of fp32 in a {product} product on {where}"
    if len(ratio) == 1:
        return "fp32", f"fp32: the only type that {where} can multiply"
    faster = max(value for name, value in ratio.items() if name != "fp32")
    return "fp32", f"fp32: bf16 is only {faster:.1f}x as fast in a {product} product on {where}"


def product_seconds(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> float:
    """Seconds for one (rows, d_in) @ (d_in, d_out) product: the minimum of several, after a warm-up.

    The minimum rather than the median, because other processes only ever add time and must not affect the choice.
    """
    import torch

    rows, d_in, d_out = shape
    seconds = []
    with torch.no_grad():
        left = torch.ones(rows, d_in, device=device, dtype=dtype)
        right = torch.ones(d_in, d_out, device=device, dtype=dtype)
        for _ in range(PROBE_REPEATS + 1):
            started = time.perf_counter()
            result = left @ right
            if device.type != "cpu":
                result[0, 0].item()  # waits for the device
            seconds.append(time.perf_counter() - started)
    return max(min(seconds[1:]), 1e-9)
