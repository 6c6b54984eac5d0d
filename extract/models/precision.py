"""Chooses where and in which precision the pair runs, each with a sentence that says why."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from fi_store.errors import UsageError

PROBE_ROWS = 512
"""Tokens in the probed product: about one small batch."""
PROBE_LIMIT = 4096
"""Widths above this are probed at this width: the ratio of speeds no longer changes, the probe's time does."""
PROBE_REPEATS = 7
TOO_SMALL = 1 << 16
"""Elements of a weight matrix under which a product's time is overhead, and no type is faster."""
WORTH = 1.2
"""A narrower type must be this much faster than float32 to be chosen: it rounds to 8 or 11 bits."""

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Precision:
    """`dtype` is what is computed in, `quantization` how weights are kept: fp32, fp16, bf16, int8 or nf4."""

    dtype: torch.dtype
    quantization: str
    reason: str


def choose_device(asked: str) -> tuple[torch.device, str]:
    """The device and why: CUDA before Apple's MPS before the CPU, unless one was asked for.

    Raises:
        UsageError: torch does not find the device that was asked for.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"device: cuda ({torch.cuda.get_device_name()})"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "device: mps (torch finds Apple's GPU and no CUDA device)"
        return torch.device("cpu"), "device: cpu (torch finds neither a CUDA device nor Apple's MPS)"
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise UsageError(
            f"--device {asked} is not a device.", hint="auto, cpu, cuda, cuda:N or mps"
        ) from error
    missing = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise UsageError(f"--device {asked}: torch finds no such device.", hint="Use --device auto.")
    return device, f"device: {asked} (as asked)"


def choose_precision(
    asked: str, device: torch.device, d_in: int, d_out: int, before: str | None = None
) -> Precision:
    """The precision for a model with matrices of about (d_in, d_out), by asking or by a probe of under a second.

    int8 and nf4 keep the weights through bitsandbytes and compute in the probed type. `before` is the type that a run
    computed in until now: it is kept, whatever a probe would say today.
    """
    if asked in DTYPES:
        return Precision(DTYPES[asked], asked, f"{asked}: as asked")
    name, reason = (before, f"{before}: as before") if before is not None else _fastest(device, d_in, d_out)
    if asked == "auto":
        return Precision(DTYPES[name], name, reason)
    return Precision(DTYPES[name], asked, f"{asked}: as asked (bitsandbytes), computing in {reason}")


def _fastest(device: torch.device, d_in: int, d_out: int) -> tuple[str, str]:
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
            seconds[name] = product_seconds(device, DTYPES[name], shape)
        except (RuntimeError, TypeError):  # the backend has no such kernel: it is not a candidate
            continue
    ratio = {name: seconds["fp32"] / value for name, value in seconds.items()}
    best = max(ratio, key=lambda name: ratio[name])
    if "bf16" in ratio and ratio["bf16"] >= WORTH and ratio["bf16"] >= 0.9 * ratio[best]:
        best = "bf16"  # fp16 overflows where bf16 does not, so it must be clearly faster
    if ratio[best] >= WORTH:
        return best, f"{best}: {ratio[best]:.1f}x the speed of fp32 in a {product} product on {where}"
    if len(ratio) == 1:
        return "fp32", f"fp32: the only type that {where} multiplies"
    faster = max(value for name, value in ratio.items() if name != "fp32")
    return "fp32", f"fp32: bf16 has only {faster:.1f}x its speed in a {product} product on {where}"


@torch.no_grad()
def product_seconds(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> float:
    """Seconds of one (rows, d_in) @ (d_in, d_out) product: the fastest of some, after a first that is not counted.

    Not the median: whatever else runs on the machine only ever adds time, and must not decide the precision.
    """
    rows, d_in, d_out = shape
    left = torch.ones(rows, d_in, device=device, dtype=dtype)
    right = torch.ones(d_in, d_out, device=device, dtype=dtype)
    taken = []
    for _ in range(PROBE_REPEATS + 1):
        started = time.perf_counter()
        result = left @ right
        if device.type != "cpu":
            result[0, 0].item()  # waits for the device
        taken.append(time.perf_counter() - started)
    return max(min(taken[1:]), 1e-9)
