"""Reads a batch with a model and captures activations at the kept positions, with hooks that are always removed.

All values come from the model's own modules. A hook also narrows the input of the output head to the kept positions,
so the model itself still applies scaling and soft caps to the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from extract.reading.batch import Batch, Level
from extract.reading.prefix import may_branch, may_share, shareable
from extract.reading.sites import Readable, Site, first_output, site_of
from fi_store.errors import ExtractionError


class NotFiniteError(ExtractionError):
    """An activation is NaN or infinite."""


class Edit(NamedTuple):
    """What is done with a site's activations (n, T, d_model) in a pass: `change` returns them or others."""

    site: str
    layer: int
    change: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BatchOutput:
    """Activations (site, layer) -> (n, d_model) in the model's dtype, and logits (n, vocabulary) if requested."""

    activations: dict[tuple[str, int], Tensor]
    logits: Tensor | None


@torch.inference_mode()
def read_batch(reader: Readable, batch: Batch, sites: Sequence[str], *, logits: bool) -> BatchOutput:
    """Runs a reader's forward passes over a batch.

    Raises:
        NotFiniteError: an activation at a kept position is not finite.
        ExtractionError: a layer lacks the module of a site.
    """
    output: BatchOutput | None = None
    with reader.active() as model:
        # Repeated with whole texts if the first pass shows that the model cannot share.
        while output is None:
            output = _read_levels(reader, model, levels_of(reader, batch), batch.n_kept, sites, logits)
    check_finite(reader, output.activations)
    return output


def levels_of(reader: Readable, batch: Batch) -> list[Level]:
    """The passes in which a model can read a batch, as far as is known before the first of them."""
    return batch.levels(
        share=may_share(reader), branch=may_branch(reader), together=reader.ways.read_together
    )


def check_finite(reader: Readable, activations: Mapping[tuple[str, int], Tensor]) -> None:
    """Raises NotFiniteError if an activation is NaN or infinite."""
    for (site, layer), rows in activations.items():
        if not bool(torch.isfinite(rows).all()):
            raise NotFiniteError(
                f"{reader.reference.text} produces activations that are not finite (layer {layer}, {site}).",
                hint="try another precision, for example --quantization fp32",
            )


def _read_levels(
    reader: Readable,
    model: Any,
    levels: Sequence[Level],
    n_kept: int,
    sites: Sequence[str],
    logits: bool,
) -> BatchOutput | None:
    """Runs the passes in order. None if the model's keys and values cannot be passed on."""
    activations: dict[tuple[str, int], Tensor] = {}
    all_logits: Tensor | None = None
    cache = None
    for level in levels:
        if cache is not None:
            cache.batch_select_indices(level.parent)
        captured: dict[tuple[str, int], Tensor] = {}
        with_logits = logits and len(level.indices) > 0
        with (
            _captured(reader, level, sites, captured),
            narrowed(
                model, level.ids.shape, (level.rows, level.columns) if with_logits else None
            ) as was_narrowed,
        ):
            output = run_level(model, level, cache)
        if with_logits:
            rows = output.logits[0] if was_narrowed() else output.logits[level.rows, level.columns]
            all_logits = _inserted(all_logits, rows, level.indices, n_kept)
        for key, values in captured.items():
            activations[key] = _inserted(activations.get(key), values, level.indices, n_kept)
        if not level.last:
            cache = shareable(model, output, level.mask.shape[1])
            if cache is None:
                return None
    return BatchOutput(activations, all_logits)


def run_level(model: Any, level: Level, cache: Any) -> Any:
    """One forward pass, after the passes whose keys and values are in `cache`."""
    return model(
        input_ids=level.ids,
        attention_mask=level.mask,
        past_key_values=cache,
        use_cache=cache is not None or not level.last,
        **({"position_ids": level.positions} if level.send_positions else {}),
    )


def _inserted(whole: Tensor | None, rows: Tensor, indices: Tensor, n_kept: int) -> Tensor:
    """(n_kept, ...) with rows (k, ...) at the ascending `indices`, or the rows themselves if they are all."""
    if len(indices) == n_kept:
        return rows
    if whole is None:
        whole = rows.new_empty((n_kept, *rows.shape[1:]))
    whole[indices.to(rows.device)] = rows
    return whole


@contextmanager
def _captured(
    reader: Readable, level: Level, sites: Sequence[str], into: dict[tuple[str, int], Tensor]
) -> Iterator[None]:
    """Captures the activations of the kept positions into a dict while the context is open."""

    def keep(site: Site, key: tuple[str, int]) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            hidden = site_output(reader, site, key, output, level.ids.shape)
            into[key] = hidden[level.rows.to(hidden.device), level.columns.to(hidden.device)]

        return hook

    with ExitStack() as stack:
        for key, site in sites_by_key(reader, sites).items():
            stack.callback(site.module.register_forward_hook(keep(site, key)).remove)
        yield


@contextmanager
def edited(reader: Readable, edit: Edit | None, shape: torch.Size) -> Iterator[None]:
    """Applies an edit to a pass over ids of `shape` (B, T) while the context is open."""
    if edit is None:
        yield
        return
    site, key = site_of(reader, edit.layer, edit.site), (edit.site, edit.layer)

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = site_output(reader, site, key, output, shape)
        return site.write(output, hidden, edit.change(hidden))

    handle = site.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def add_vectors(hidden: Tensor, rows: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    """A copy of activations (B, T, d_model) with values (k, d_model) added at k positions, summed in float32."""
    rows, columns, values = (part.to(hidden.device) for part in (rows, columns, values))
    changed = hidden.clone()
    changed[rows, columns] = (hidden[rows, columns].float() + values).to(hidden.dtype)
    return changed


def sites_by_key(reader: Readable, sites: Sequence[str]) -> dict[tuple[str, int], Site]:
    """The given sites of all layers, by site and layer.

    Raises:
        ExtractionError: a layer has no such site.
    """
    return {
        (site, layer): site_of(reader, layer, site) for layer in range(len(reader.layers)) for site in sites
    }


def site_output(reader: Readable, site: Site, key: tuple[str, int], output: Any, shape: torch.Size) -> Tensor:
    """The activations (B, T, d_model) in what a site's module returned, in a pass over ids of `shape` (B, T).

    Raises:
        ExtractionError: they are of another shape (several streams in one tensor, for example).
    """
    hidden = site.read(output, shape)
    if hidden is None:
        returned, (name, layer) = first_output(output), key
        found = tuple(returned.shape) if isinstance(returned, Tensor) else type(returned).__name__
        raise ExtractionError(
            f"Layer {layer} of {reader.reference.text} ({type(reader.layers[layer]).__name__}) returns {found} for "
            f"{name}, not one vector for each of {tuple(shape)} tokens.",
            hint="use models whose layers have a single residual stream",
        )
    return hidden


@contextmanager
def narrowed(
    model: Any, shape: torch.Size, positions: tuple[Tensor, Tensor] | None
) -> Iterator[Callable[[], bool]]:
    """Passes only some positions of a pass over ids of `shape` to the output head, as (1, n, d_model).

    They are given as rows and columns (n,); None stands for any one position, if no logits are needed. Yields a
    function that says, after the pass, whether this happened (a model may have no separate head).
    """
    narrowed = False

    def narrow(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal narrowed
        hidden = inputs[0]
        if not isinstance(hidden, Tensor) or hidden.shape[:2] != shape:
            return None
        narrowed = True
        kept = hidden[0, :1] if positions is None else hidden[positions]
        return (kept.unsqueeze(0), *inputs[1:])

    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(narrow) if isinstance(head, nn.Module) else None
    try:
        yield lambda: narrowed
    finally:
        if handle is not None:
            handle.remove()
