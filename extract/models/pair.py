"""A pair of models, ready to be read: `load_pair` turns two references into two readers.

Readers may share one model in memory (two adapters, an adapter and its base, a model with itself); which adapter
acts is decided by `Reader.active()`, for as long as it is entered. This module knows nothing about texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from extract.models.assembly import Assembly
from extract.models.loading import Loading, find_source
from extract.models.precision import choose_device
from extract.models.reader import Reader
from extract.models.references import ModelReference, parse_reference

__all__ = ["LoadedPair", "ModelReference", "Reader", "load_pair", "parse_reference"]


@dataclass
class LoadedPair:
    """Base and target with what was decided for both; `warnings` are sentences for the run's record."""

    base: Reader
    target: Reader
    device: torch.device
    dtype: torch.dtype
    dtype_reason: str
    quantization: str
    warnings: list[str]


def load_pair(
    base: str,
    target: str,
    *,
    device: str = "auto",
    quantization: str = "auto",
    compute: str | None = None,
    cache_dir: Path | None = None,
    trust_remote_code: bool = False,
    note: Callable[[str], None],
) -> LoadedPair:
    """Loads two models in the same precision on the same device; what both share is loaded once.

    `note` receives every choice with its reason. An adapter is put on the other side's plain model when the shapes
    fit, else on the base that its configuration names. `compute` is the type to compute in where `quantization` leaves
    it open (fp32, fp16, bf16); without it the fastest is.

    Raises:
        ModelError: a reference that cannot be read, an adapter that does not fit.
        UsageError: a device that is not there.
    """
    references = parse_reference(base), parse_reference(target)
    loading = Loading(cache_dir, trust_remote_code, note)
    place, place_reason = choose_device(device)
    note(place_reason)
    sources = find_source(references[0], loading), find_source(references[1], loading)
    assembly = Assembly(loading, place, quantization, compute)
    first, second = assembly.readers(sources)
    precision = assembly.chosen_precision
    return LoadedPair(
        first, second, place, precision.dtype, precision.reason, precision.quantization, assembly.warnings
    )
