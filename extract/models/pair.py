"""Loads the two models of a pair: `load_pair` turns two references into two readers.

Two readers may share one model in memory (two adapters, an adapter and its base, a model with itself).
`Reader.active()` then switches the right adapter on. This module knows nothing about texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extract.models.assembly import Assembly
from extract.models.loading import Loading, find_source
from extract.models.precision import choose_device
from extract.models.reader import Reader
from extract.models.references import parse_reference
from fi_store.layers import Depths

if TYPE_CHECKING:
    import torch


@dataclass
class LoadedPair:
    """Base and target with the settings they share. `warnings` are sentences for the run's record."""

    base: Reader
    target: Reader
    device: torch.device
    dtype: torch.dtype
    dtype_reason: str
    quantization: str
    warnings: list[str]

    @property
    def depths(self) -> Depths:
        """The numbers of layers."""
        return Depths(self.base.n_layers, self.target.n_layers)


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
    """Loads two models in the same precision on the same device. What they share is loaded only once.

    `note` receives every choice with its reason. An adapter is added to the other side's whole model if the shapes
    fit, and otherwise to the base that its configuration names. `compute` (fp32, fp16 or bf16) is the type to compute
    in if `quantization` leaves it open; the default is the fastest one.

    Raises:
        ModelError: a reference cannot be read, or an adapter does not fit.
        UsageError: the device does not exist.
    """
    references = parse_reference(base), parse_reference(target)
    loading = Loading(cache_dir, trust_remote_code, note)
    torch_device, reason = choose_device(device)
    note(reason)
    sources = find_source(references[0], loading), find_source(references[1], loading)
    assembly = Assembly(loading, torch_device, quantization, compute)
    first, second = assembly.readers(sources)
    precision = assembly.chosen_precision
    return LoadedPair(
        first,
        second,
        torch_device,
        precision.dtype,
        precision.reason,
        precision.quantization,
        assembly.warnings,
    )
