"""Device and precision: what is chosen, and the sentence that says why."""

from __future__ import annotations

import pytest
import torch

from extract.models import precision as module
from extract.models.precision import choose_device, choose_precision, product_seconds
from fi_store.errors import UsageError

CPU = torch.device("cpu")


def timed(monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float | None) -> None:
    """Replaces the clock's answer: seconds of the product in each type (None: the type is not there)."""

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
        (1.1, 1.0, "fp32", "fp32: bf16 has only 1.1x its speed in a 512x576x1536 product on this CPU"),
        (1.0, None, "fp32", "fp32: the only type that this CPU multiplies"),
    ],
)
def test_auto(
    monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float | None, chosen: str, reason: str
) -> None:
    timed(monkeypatch, fp32, bf16)
    precision = choose_precision("auto", CPU, 576, 1536)
    assert (precision.quantization, precision.reason) == (chosen, reason)
    assert precision.dtype == module.DTYPES[chosen]


def test_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("fp16", CPU, 576, 1536).dtype == torch.float16
    timed(monkeypatch, 2.0, 1.0)
    precision = choose_precision("nf4", CPU, 576, 1536)
    assert (precision.quantization, precision.dtype) == ("nf4", torch.bfloat16)
    assert precision.reason.startswith("nf4: as asked (bitsandbytes), computing in bf16: 2.0x")


@pytest.mark.parametrize("asked", ["auto", "nf4"])
def test_a_run_goes_on_in_the_type_that_it_began_in(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    timed(monkeypatch, 2.0, 1.0)
    precision = choose_precision(asked, CPU, 576, 1536, "fp32")
    assert precision.dtype == torch.float32
    assert precision.quantization == ("fp32" if asked == "auto" else "nf4")


def test_small_models_are_not_left_to_chance() -> None:
    precision = choose_precision("auto", CPU, 32, 64)
    assert (precision.quantization, precision.dtype) == ("fp32", torch.float32)
    assert "32x64 are too small" in precision.reason


def test_the_probe_measures() -> None:
    small = product_seconds(CPU, torch.float32, (8, 8, 8))
    large = product_seconds(CPU, torch.float32, (512, 1024, 1024))
    assert 0 < small < large  # a million times the work


def test_devices() -> None:
    device, reason = choose_device("cpu")
    assert device == CPU
    assert reason == "device: cpu (as asked)"
    assert choose_device("auto")[1].startswith(f"device: {choose_device('auto')[0].type}")
    with pytest.raises(UsageError, match="cuda:97: torch finds no such device"):
        choose_device("cuda:97")
    with pytest.raises(UsageError, match="abacus is not a device"):
        choose_device("abacus")
