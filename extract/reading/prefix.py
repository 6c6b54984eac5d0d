"""What texts of a batch have in common is run once, and its keys and values shared.

A chat template opens every text with the same system prompt, often a third of all tokens; and both models' answers
follow the same prompt. What the models compute is the same; only rounding differs, and alike for every reader. Models
whose cache is not a plain one for each layer (sliding windows, recurrent states), or which count how far away a token
is by its place in the cache, where padding lies too, read every text whole.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

MIN_SHARED = 8
"""Shared tokens below which a pass of their own costs more than it saves."""
_UNSHARED: WeakSet[torch.nn.Module] = WeakSet()
"""Models whose cache was seen and cannot be shared."""


def shared_length(texts: Sequence[Sequence[int]], limit: int) -> int:
    """How many leading tokens all texts share, at most `limit`; 0 when too few to be worth it."""
    first, last = min(map(list, texts)), max(map(list, texts))  # what these two share, all in between share
    length = 0
    for left, right in zip(first[:limit], last[:limit], strict=False):
        if left != right:
            break
        length += 1
    return length if length >= MIN_SHARED and len(texts) > 1 else 0


def may_share(model: Any) -> bool:
    """Whether nothing is known that keeps texts from sharing keys and values: the first shared pass tells the rest."""
    by_place = "local" in getattr(model.config, "attention_layers", ())  # GPT-Neo's windows
    return model not in _UNSHARED and not by_place


def may_branch(model: Any) -> bool:
    """Whether texts may also go on after rows of different lengths: the model must be told the positions, from 0."""
    embeddings = getattr(model.base_model, "embeddings", None)
    from_padding = getattr(embeddings, "padding_idx", None) is not None  # RoBERTa counts on from there
    told = "position_ids" in inspect.signature(model.forward).parameters
    return may_share(model) and told and not from_padding


def shareable(model: Any, output: Any, length: int) -> Cache | None:
    """The keys and values of a pass over `length` tokens; None (and noted for this model) if they are no plain ones."""
    cache = getattr(output, "past_key_values", None)
    if (
        type(cache) is DynamicCache  # a subclass may hold more than keys and values
        and all(type(layer) is DynamicLayer for layer in cache.layers)
        and cache.get_seq_length() == length
    ):
        return cache
    _UNSHARED.add(model)
    return None


def prefix_cache(model: Any, tokens: Sequence[int], copies: int, device: Any) -> Cache | None:
    """Keys and values of `tokens` for a batch of `copies`; None for a model that cannot share them."""
    if not may_share(model):
        return None
    output = model(input_ids=torch.tensor([list(tokens)], device=device), use_cache=True)
    cache = shareable(model, output, len(tokens))
    if cache is not None:
        cache.batch_repeat_interleave(copies)
    return cache
