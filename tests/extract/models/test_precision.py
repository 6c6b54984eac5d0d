"""Device and precision: what is chosen, and the sentence that gives the reason."""

from __future__ import annotations

import pytest
import torch

from extract.models import precision as module
from extract.models.precision import choose_device, choose_precision, product_seconds
from fi_store.errors import UsageError

CPU = torch.device("cpu")


def timed(monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float | None) -> None:
    """Replaces the measurement: seconds of the product in each type (None: the type does not exist)."""

    def fake(_: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> float:
        assert shape == (512, 576, 1536)
        if dtype == torch.float32:
            return fp32
        if bf16 is None:
            raise RuntimeError("not implemented for 'BFloat16'")
        return bf16

    monkeypatch.setattr(module, "product_seconds", fake)


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen", "reason"),
    [
        (9.8, 1.0, "bf16", "bf16: 9.8x the speed of fp32 in a 512x576x1536 product on this CPU"),
        (1.1, 1.0, "fp32", "fp32: bf16 is only 1.1x as fast in a 512x576x1536 product on this CPU"),
        (1.0, None, "fp32", "fp32: the only type that this CPU can multiply"),
    ],
)
def test_auto_chooses_the_fastest_type(
    monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float | None, chosen: str, reason: str
) -> None:
    timed(monkeypatch, fp32, bf16)
    precision = choose_precision("auto", CPU, 576, 1536)
    assert (precision.quantization, precision.reason) == (chosen, reason)
    assert str(precision.dtype) == f"torch.{module.DTYPES[chosen]}"


def test_a_requested_precision_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("fp16", CPU, 576, 1536).dtype == torch.float16
    timed(monkeypatch, 2.0, 1.0)
    precision = choose_precision("nf4", CPU, 576, 1536)
    assert (precision.quantization, precision.dtype) == ("nf4", torch.bfloat16)
    assert precision.reason.startswith("nf4: as requested (bitsandbytes), computing in bf16: 2.0x")


@pytest.mark.parametrize("requested", ["auto", "nf4"])
def test_a_resumed_run_keeps_its_type(monkeypatch: pytest.MonkeyPatch, requested: str) -> None:
    timed(monkeypatch, 2.0, 1.0)
    precision = choose_precision(requested, CPU, 576, 1536, "fp32")
    assert precision.dtype == torch.float32
    assert precision.quantization == ("fp32" if requested == "auto" else "nf4")


def test_small_models_are_not_timed() -> None:
    precision = choose_precision("auto", CPU, 32, 64)
    assert (precision.quantization, precision.dtype) == ("fp32", torch.float32)
    assert "32x64 are too small" in precision.reason


def test_larger_products_take_longer() -> None:
    small = product_seconds(CPU, torch.float32, (8, 8, 8))
    large = product_seconds(CPU, torch.float32, (512, 1024, 1024))
    assert 0 < small < large  # a million times the work


def test_devices_are_chosen_or_refused() -> None:
    device, reason = choose_device("cpu")
    assert device == CPU
    assert reason == "device: cpu (as requested)"
    assert choose_device("auto")[1].startswith(f"device: {choose_device('auto')[0].type}")
    with pytest.raises(UsageError, match="cuda:97: torch finds no such device"):
        choose_device("cuda:97")
    with pytest.raises(UsageError, match="abacus is not a device"):
        choose_device("abacus")
