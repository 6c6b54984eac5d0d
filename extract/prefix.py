"""The tokens that all texts of a batch begin with are run once, and their keys and values shared.

A chat template opens every text with the same system prompt, often a third of all tokens. What the models compute is
the same; only rounding differs, and alike for every reader. Models whose cache is not a plain one for each layer
(sliding windows, recurrent states) read every text whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

MIN_SHARED = 8
"""Shared tokens below which a pass of their own costs more than it saves."""


def shared_length(texts: Sequence[Sequence[int]], limit: int) -> int:
    """How many leading tokens all texts share, at most `limit`; 0 when too few to be worth it."""
    first, last = min(map(list, texts)), max(map(list, texts))  # what these two share, all in between share
    length = 0
    for left, right in zip(first[:limit], last[:limit], strict=False):
        if left != right:
            break
        length += 1
    return length if length >= MIN_SHARED and len(texts) > 1 else 0


def prefix_cache(model: Any, tokens: Sequence[int], copies: int, device: Any) -> Cache | None:
    """Keys and values of `tokens` for a batch of `copies`; None for a model that cannot share them."""
    output = model(input_ids=torch.tensor([list(tokens)], device=device), use_cache=True)
    cache = getattr(output, "past_key_values", None)
    if not isinstance(cache, Cache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    if cache.get_seq_length() != len(tokens):
        return None
    cache.batch_repeat_interleave(copies)
    return cache
