"""Reads activations out of the running model: hooks on the transformers modules, removed in `finally`.

Nothing of a model is computed twice or by own code. What leaves a forward pass are the kept positions only, and the
output head is fed only those: its input is narrowed in a hook, so scaling and soft caps of the logits stay the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from extract.prefix import prefix_cache, shared_length
from extract.references import ModelReference
from fi_store.errors import ExtractionError

LENGTH_STEP = 8
"""Batches are padded to multiples of this: kernels are rebuilt for every new shape."""
BATCH_TOKENS = 2048
"""Padded tokens of one forward pass."""
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


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences and which positions are kept.

    ids, mask: (B, T) int64; rows, columns: (n,) int64, the kept positions, sequence by sequence; the first `n_shared`
    tokens are the same in all sequences, and none of them is kept.
    """

    ids: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor
    n_shared: int

    def without_shared(self) -> Batch:
        """The part that follows the shared tokens; its mask still covers them."""
        at = self.n_shared
        return Batch(self.ids[:, at:], self.mask, self.rows, self.columns - at, 0)


class Splice(NamedTuple):
    """What stands at the kept positions of a site in the place of the model's own activations: (n, d_model)."""

    site: str
    layer: int
    values: Tensor


@dataclass(frozen=True)
class Reading:
    """Activations (site, layer) -> (n, d_model) in the model's dtype, and logits (n, vocabulary) if asked for."""

    activations: dict[tuple[str, int], Tensor]
    logits: Tensor | None


def plan_batches(lengths: Sequence[int], tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """Groups of sequence numbers for one forward pass each: similar lengths together, at most `tokens` padded."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda item: (lengths[item], item)):
        # Sorted by length, the newest member is the longest of its group.
        if groups and (len(groups[-1]) + 1) * padded_length(lengths[number]) <= tokens:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def padded_length(length: int) -> int:
    """The length that a sequence of `length` tokens is padded to."""
    return max(LENGTH_STEP, -(-length // LENGTH_STEP) * LENGTH_STEP)


def make_batch(
    ids: Sequence[Sequence[int]], kept: Sequence[Sequence[int]], device: torch.device | str
) -> Batch:
    """Pads on the right; the mask, not an id, says what is padding (it may equal the end mark)."""
    # At least the first kept position must be left to the pass that is read.
    n_shared = shared_length(ids, min((positions[0] for positions in kept if positions), default=0))
    width = n_shared + padded_length(max(len(row) for row in ids) - n_shared)
    tokens = torch.zeros(len(ids), width, dtype=torch.long)
    mask = torch.zeros(len(ids), width, dtype=torch.long)
    for number, row in enumerate(ids):
        tokens[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    rows = torch.tensor(
        [number for number, positions in enumerate(kept) for _ in positions], dtype=torch.long
    )
    columns = torch.tensor([position for positions in kept for position in positions], dtype=torch.long)
    return Batch(tokens.to(device), mask.to(device), rows.to(device), columns.to(device), n_shared)


@torch.inference_mode()
def read_batch(
    reader: Readable, batch: Batch, sites: Sequence[str], *, logits: bool, splice: Splice | None = None
) -> Reading:
    """One forward pass of a reader over a batch, with something else in the place of its activations if asked for.

    Raises:
        NotFiniteError: an activation at a kept position is not finite.
        ExtractionError: a layer lacks the module of a site.
    """
    activations: dict[tuple[str, int], Tensor] = {}
    head = None
    with reader.active() as model:
        past = None
        if batch.n_shared:
            past = prefix_cache(
                model, batch.ids[0, : batch.n_shared].tolist(), len(batch.ids), batch.ids.device
            )
        if past is not None:
            batch = batch.without_shared()
        with (
            _spliced(reader, batch, splice),
            _captured(reader, batch, sites, activations),
            _narrowed(model, batch, logits) as cut,
        ):
            output = model(
                input_ids=batch.ids,
                attention_mask=batch.mask,
                past_key_values=past,
                use_cache=past is not None,
            ).logits
            if logits:
                head = output[0] if cut() else output[batch.rows, batch.columns]
    for (site, layer), rows in activations.items():
        if not bool(torch.isfinite(rows).all()):
            raise NotFiniteError(
                f"{reader.reference.text} gives activations that are not finite (layer {layer}, {site}).",
                hint="try another precision, for example --quantization fp32",
            )
    return Reading(activations, head)


@contextmanager
def _captured(
    reader: Readable, batch: Batch, sites: Sequence[str], into: dict[tuple[str, int], Tensor]
) -> Iterator[None]:
    def keep(site: str, layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            hidden: Tensor = output[0] if isinstance(output, tuple) else output  # (B, T, d_model)
            into[site, layer] = hidden[batch.rows.to(hidden.device), batch.columns.to(hidden.device)]

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
def _spliced(reader: Readable, batch: Batch, splice: Splice | None) -> Iterator[None]:
    if splice is None:
        yield
        return

    def put(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden: Tensor = output[0] if isinstance(output, tuple) else output  # (B, T, d_model)
        changed = hidden.clone()
        values = splice.values.to(hidden.device, hidden.dtype)
        changed[batch.rows.to(hidden.device), batch.columns.to(hidden.device)] = values
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
def _narrowed(model: Any, batch: Batch, logits: bool) -> Iterator[Callable[[], bool]]:
    """Feeds the output head only the kept positions as (1, n, d_model), or one position when no logits are wanted.

    Yields what says, after the pass, whether the head was narrowed (a model may have no separate head).
    """
    narrowed = False

    def cut(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal narrowed
        hidden = inputs[0]
        if not isinstance(hidden, Tensor) or hidden.shape[:2] != batch.ids.shape:
            return None
        narrowed = True
        kept = hidden[batch.rows, batch.columns] if logits else hidden[0, :1]
        return (kept.unsqueeze(0), *inputs[1:])

    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(cut) if isinstance(head, nn.Module) else None
    try:
        yield lambda: narrowed
    finally:
        if handle is not None:
            handle.remove()
