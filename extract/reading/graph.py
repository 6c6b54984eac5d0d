"""Measures how much memory a backward pass needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class GraphSize:
    """Bytes that backward passes kept in memory, and the padded tokens that they went through."""

    n_bytes: int = 0
    n_tokens: int = 0


@contextmanager
def measured_graph(model: Any) -> Iterator[GraphSize]:
    """Measures the graph of one batch: what is saved for the backward pass, without the model's own tensors."""
    size = GraphSize()
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:  # what was saved stays alive, so no address is used twice
            known.add(storage.data_ptr())
            size.n_bytes += storage.nbytes()
        return tensor

    def count(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if torch.is_grad_enabled():
            size.n_tokens += output.shape[:2].numel()

    handle = model.get_input_embeddings().register_forward_hook(count)
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield size
    finally:
        handle.remove()
