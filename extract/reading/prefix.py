"""Runs the common beginning of a batch's texts once and shares its keys and values, if the model allows it.

A chat template opens every text with the same system prompt, often a third of all tokens, and both models' answers
follow the same prompt. The models compute the same; only rounding differs, in the same way for every reader. Some
models read every text whole: those without a plain cache for each layer (sliding windows, recurrent states), and those
that measure the distance of a token by its index in the cache, which also contains padding.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from extract.reading.sites import Readable

MIN_SHARED = 8
"""With fewer shared tokens, a pass of their own costs more than it saves."""
_UNSHARED: WeakSet[torch.nn.Module] = WeakSet()
"""Models whose cache turned out not to be shareable."""


def shared_length(texts: Sequence[Sequence[int]], limit: int) -> int:
    """How many leading tokens all texts share, at most `limit`; 0 if they are too few to be worth it."""
    # All texts are sorted between these two, so they share what these two share.
    first, last = min(map(list, texts)), max(map(list, texts))
    length = 0
    for left, right in zip(first[:limit], last[:limit], strict=False):
        if left != right:
            break
        length += 1
    return length if length >= MIN_SHARED and len(texts) > 1 else 0


def may_share(reader: Readable) -> bool:
    """Whether texts may share keys and values, as far as is known before the first shared pass."""
    model = reader.plain
    uses_cache_index = "local" in getattr(model.config, "attention_layers", ())  # GPT-Neo's windows
    return reader.ways.shared and model not in _UNSHARED and not uses_cache_index


def may_branch(reader: Readable) -> bool:
    """Whether texts may also continue rows of different lengths: the model must accept positions that start at 0."""
    model = reader.plain
    embeddings = getattr(model.base_model, "embeddings", None)
    counts_from_padding = getattr(embeddings, "padding_idx", None) is not None  # RoBERTa
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    return may_share(reader) and takes_positions and not counts_from_padding


def shareable(model: Any, output: Any, length: int) -> Cache | None:
    """The keys and values of a pass over `length` tokens. None if they are not plain, which is then remembered."""
    cache = getattr(output, "past_key_values", None)
    if (
        type(cache) is DynamicCache  # a subclass may hold more than keys and values
        and all(type(layer) is DynamicLayer for layer in cache.layers)
        and cache.get_seq_length() == length
    ):
        return cache
    _UNSHARED.add(model)
    return None


def prefix_cache(reader: Readable, tokens: Sequence[int], copies: int, device: Any) -> Cache | None:
    """Keys and values of `tokens`, repeated for a batch of `copies`. None if the model cannot share them."""
    if not may_share(reader):
        return None
    model = reader.plain
    output = model(input_ids=torch.tensor([list(tokens)], device=device), use_cache=True)
    cache = shareable(model, output, len(tokens))
    if cache is not None:
        cache.batch_repeat_interleave(copies)
    return cache
