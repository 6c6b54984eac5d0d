"""Reads activations out of the running model: hooks on the transformers modules, removed in `finally`.

Nothing of a model is computed by own code. What leaves a forward pass are the kept positions only, and the
output head is fed only those: its input is narrowed in a hook, so scaling and soft caps of the logits stay the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from extract.models import ModelReference
from extract.reading.batch import Batch, Level
from extract.reading.prefix import may_branch, may_share, shareable
from fi_store.errors import ExtractionError

CHILDREN = {
    "attn_out": ("self_attn", "attn", "attention", "self_attention"),
    "mlp_out": ("mlp", "feed_forward", "ffn", "block_sparse_moe"),
}
"""What the attention and MLP modules of a decoder layer are called in transformers."""


class NotFiniteError(ExtractionError):
    """An activation is NaN or infinite."""


class Readable(Protocol):
    """What the extraction needs of a model; `extract.models.Reader` and sham targets are such."""

    @property
    def reference(self) -> ModelReference: ...
    @property
    def layers(self) -> Sequence[nn.Module]: ...
    def active(self) -> AbstractContextManager[Any]: ...


class Splice(NamedTuple):
    """What stands at the kept positions of a site in the place of the model's own activations: (n, d_model)."""

    site: str
    layer: int
    values: Tensor


@dataclass(frozen=True)
class BatchOutput:
    """Activations (site, layer) -> (n, d_model) in the model's dtype, and logits (n, vocabulary) if asked for."""

    activations: dict[tuple[str, int], Tensor]
    logits: Tensor | None


@torch.inference_mode()
def read_batch(
    reader: Readable, batch: Batch, sites: Sequence[str], *, logits: bool, splice: Splice | None = None
) -> BatchOutput:
    """A reader's forward passes over a batch, with something else in the place of its activations if asked for.

    Raises:
        NotFiniteError: an activation at a kept position is not finite.
        ExtractionError: a layer lacks the module of a site.
    """
    found: BatchOutput | None = None
    with reader.active() as model:
        while found is None:  # once more, whole, where the first pass shows that a model cannot share
            # What is put at one text's positions is not put at another's, so prompts stay apart.
            levels = batch.levels(share=may_share(model), branch=splice is None and may_branch(model))
            found = _read_levels(reader, model, levels, batch.n_kept, sites, logits, splice)
    for (site, layer), rows in found.activations.items():
        if not bool(torch.isfinite(rows).all()):
            raise NotFiniteError(
                f"{reader.reference.text} gives activations that are not finite (layer {layer}, {site}).",
                hint="try another precision, for example --quantization fp32",
            )
    return found


def _read_levels(
    reader: Readable,
    model: Any,
    levels: Sequence[Level],
    n_kept: int,
    sites: Sequence[str],
    logits: bool,
    splice: Splice | None,
) -> BatchOutput | None:
    """The passes in turn; None where the model's keys and values cannot be handed on."""
    activations: dict[tuple[str, int], Tensor] = {}
    head: Tensor | None = None
    cache = None
    told = len(levels) > 1 and may_branch(model)
    for level in levels:
        last = level is levels[-1]
        if cache is not None:
            cache.batch_select_indices(level.parent)
        own: dict[tuple[str, int], Tensor] = {}
        wanted = logits and len(level.places) > 0
        with (
            _spliced(reader, level, splice),
            _captured(reader, level, sites, own),
            _narrowed(model, level, wanted) as cut,
        ):
            output = model(
                input_ids=level.ids,
                attention_mask=level.mask,
                past_key_values=cache,
                use_cache=cache is not None or not last,
                **({"position_ids": level.positions} if told else {}),
            )
        if wanted:
            rows = output.logits[0] if cut() else output.logits[level.rows, level.columns]
            head = _placed(head, rows, level.places, n_kept)
        for key, values in own.items():
            activations[key] = _placed(activations.get(key), values, level.places, n_kept)
        if not last:
            cache = shareable(model, output, level.mask.shape[1])
            if cache is None:
                return None
    return BatchOutput(activations, head)


def _placed(whole: Tensor | None, rows: Tensor, places: Tensor, n_kept: int) -> Tensor:
    """(n_kept, ...) with rows (k, ...) at their places, which ascend; the rows themselves where they are all."""
    if len(places) == n_kept:
        return rows
    if whole is None:
        whole = rows.new_empty((n_kept, *rows.shape[1:]))
    whole[places.to(rows.device)] = rows
    return whole


@contextmanager
def _captured(
    reader: Readable, level: Level, sites: Sequence[str], into: dict[tuple[str, int], Tensor]
) -> Iterator[None]:
    def keep(site: str, layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            hidden: Tensor = output[0] if isinstance(output, tuple) else output  # (B, T, d_model)
            into[site, layer] = hidden[level.rows.to(hidden.device), level.columns.to(hidden.device)]

        return hook

    handles = []
    try:
        for number, layer in enumerate(reader.layers):
            for site in sites:
                module = site_module(reader, layer, number, site)
                handles.append(module.register_forward_hook(keep(site, number)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _spliced(reader: Readable, level: Level, splice: Splice | None) -> Iterator[None]:
    if splice is None or not len(level.places):
        yield
        return

    def put(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden: Tensor = output[0] if isinstance(output, tuple) else output  # (B, T, d_model)
        changed = hidden.clone()
        values = splice.values.to(hidden.device, hidden.dtype)
        rows, columns, places = (at.to(hidden.device) for at in (level.rows, level.columns, level.places))
        changed[rows, columns] = values[places]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    module = site_module(reader, reader.layers[splice.layer], splice.layer, splice.site)
    handle = module.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def site_module(reader: Readable, layer: nn.Module, number: int, site: str) -> nn.Module:
    """The module whose output is a site: the decoder layer itself, its attention or its MLP."""
    if site == "resid_post":
        return layer
    for name in CHILDREN[site]:
        child = getattr(layer, name, None)
        if isinstance(child, nn.Module):
            return child
    raise ExtractionError(
        f"Layer {number} of {reader.reference.text} ({type(layer).__name__}) has no module for {site}.",
        hint="leave it out with --sites resid_post",
    )


@contextmanager
def _narrowed(model: Any, level: Level, logits: bool) -> Iterator[Callable[[], bool]]:
    """Feeds the output head only the kept positions as (1, n, d_model), or one position when no logits are wanted.

    Yields what says, after the pass, whether the head was narrowed (a model may have no separate head).
    """
    narrowed = False

    def cut(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal narrowed
        hidden = inputs[0]
        if not isinstance(hidden, Tensor) or hidden.shape[:2] != level.ids.shape:
            return None
        narrowed = True
        kept = hidden[level.rows, level.columns] if logits else hidden[0, :1]
        return (kept.unsqueeze(0), *inputs[1:])

    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(cut) if isinstance(head, nn.Module) else None
    try:
        yield lambda: narrowed
    finally:
        if handle is not None:
            handle.remove()
