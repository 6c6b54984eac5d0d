"""How two next-token distributions differ at each kept position: KL both ways, agreement, the tokens that carry it.

Everything is computed in float32 from the models' own logits, in blocks of rows, so that the memory stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fi_store.errors import ExtractionError
from fi_store.method import METHOD

BLOCK_ROWS = 16
"""Rows at a time: the float32 buffers of a block stay in a core's cache (twice as fast as 64 rows)."""
REST_FLOOR = -20.723  # log 1e-9
"""Log-probability given to the rest bucket of a model that has no token outside the shared ones."""


@dataclass(frozen=True)
class VocabularyMap:
    """Which logits of the two models are the same token.

    Tokens are matched by their string. Tokens of one model only share one rest bucket; padded logits (no token of the
    tokenizer) are left out of the softmax, since no text can contain them.

    shared_base, shared_target: (V,) ids of the same tokens, by base id. rest_*: ids of each model's own tokens.
    """

    shared_base: Tensor
    shared_target: Tensor
    rest_base: Tensor
    rest_target: Tensor

    @cached_property
    def prefix(self) -> int | None:
        """How many leading ids are the shared tokens of both models, if they are exactly that and nothing rests."""
        count = len(self.shared_base)
        if len(self.rest_base) or len(self.rest_target):
            return None
        leading = torch.arange(count)
        return (
            count
            if bool((self.shared_base == leading).all() and (self.shared_target == leading).all())
            else None
        )


class Divergence(NamedTuple):
    """Per row, on the CPU: columns of `token_divergence` (nats; ids are base's)."""

    logprob_base: Tensor  # (n,) float32; NaN where the next token is unknown
    logprob_target: Tensor
    kl_target_base: Tensor  # (n,) float32
    kl_base_target: Tensor
    agree: Tensor  # (n,) bool
    promoted_ids: Tensor  # (n, k) int64
    promoted_kl: Tensor  # (n, k) float32
    suppressed_ids: Tensor
    suppressed_kl: Tensor


def map_vocabularies(base: Any, target: Any, base_logits: int, target_logits: int) -> VocabularyMap:
    """Matches two tokenizers' tokens by string; ids beyond a model's logits are ignored.

    Raises:
        ExtractionError: the vocabularies have no token in common.
    """
    left = {text: number for text, number in base.get_vocab().items() if number < base_logits}
    right = {text: number for text, number in target.get_vocab().items() if number < target_logits}
    shared = sorted((left[text], right[text]) for text in left.keys() & right.keys())
    if not shared:
        raise ExtractionError(
            "The models' vocabularies have no token in common, so their predictions cannot be compared.",
            hint="compare models whose tokenizers write tokens alike",
        )
    return VocabularyMap(
        torch.tensor([pair[0] for pair in shared], dtype=torch.long),
        torch.tensor([pair[1] for pair in shared], dtype=torch.long),
        torch.tensor(sorted(left[text] for text in left.keys() - right.keys()), dtype=torch.long),
        torch.tensor(sorted(right[text] for text in right.keys() - left.keys()), dtype=torch.long),
    )


@torch.inference_mode()
def diverge(
    base_logits: Tensor,
    target_logits: Tensor,
    next_base: Sequence[int | None],
    next_target: Sequence[int | None],
    vocabulary: VocabularyMap,
) -> Divergence:
    """Compares logits (n, V_base) and (n, V_target) row by row.

    KL(p_t || p_b) = sum_v p_t (log p_t - log p_b), its terms are the promoted tokens' contributions; the other way
    round the suppressed ones'. `next_*` are the ids of the tokens that follow, in each model's own ids.
    """
    blocks = [
        _block(
            base_logits[start : start + BLOCK_ROWS],
            target_logits[start : start + BLOCK_ROWS],
            next_base[start : start + BLOCK_ROWS],
            next_target[start : start + BLOCK_ROWS],
            vocabulary,
        )
        for start in range(0, len(base_logits), BLOCK_ROWS)
    ]
    return Divergence(*(torch.cat(column) for column in zip(*blocks, strict=True)))


def _block(
    base_logits: Tensor,
    target_logits: Tensor,
    next_base: Sequence[int | None],
    next_target: Sequence[int | None],
    vocabulary: VocabularyMap,
) -> Divergence:
    device = base_logits.device
    log_b, rest_b, partition_b = _log_probabilities(
        base_logits, vocabulary.shared_base, vocabulary.rest_base, vocabulary.prefix
    )
    log_t, rest_t, partition_t = _log_probabilities(
        target_logits, vocabulary.shared_target, vocabulary.rest_target, vocabulary.prefix
    )
    agree = _same_best(log_b, rest_b, log_t, rest_t)
    gap = log_t - log_b  # (n, V)
    promoted = log_t.exp_().mul_(gap)  # in place: these are the largest tensors, and not needed any more
    suppressed = log_b.exp_().mul_(gap.neg_())
    kl_tb, kl_bt = promoted.sum(1), suppressed.sum(1)
    if len(vocabulary.rest_base) or len(vocabulary.rest_target):
        rest_gap = rest_t - rest_b
        kl_tb, kl_bt = kl_tb + rest_t.exp() * rest_gap, kl_bt - rest_b.exp() * rest_gap
    count = min(METHOD.stored_tokens, promoted.shape[1])
    top_promoted, top_suppressed = promoted.topk(count, dim=1), suppressed.topk(count, dim=1)
    ids = vocabulary.shared_base.to(device)
    columns = (
        _next(base_logits, partition_b, next_base, next_target, which=0),
        _next(target_logits, partition_t, next_base, next_target, which=1),
        kl_tb.clamp_min(0.0),  # a sum of float32 terms may fall below zero by rounding
        kl_bt.clamp_min(0.0),
        agree,
        ids[top_promoted.indices],
        top_promoted.values,
        ids[top_suppressed.indices],
        top_suppressed.values,
    )
    return Divergence(*(column.cpu() for column in columns))


def _log_probabilities(
    logits: Tensor, shared: Tensor, rest: Tensor, prefix: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of the shared tokens (n, V), of the rest bucket (n,), and the log partition function (n,)."""
    known = logits[:, :prefix] if prefix is not None else logits[:, shared.to(logits.device)]
    known = known.float()
    if not len(rest):
        found = known.log_softmax(1)
        return found, found.new_full((len(found),), REST_FLOOR), known[:, 0] - found[:, 0]
    own = logits[:, rest.to(logits.device)].float().logsumexp(1, keepdim=True)
    both = torch.cat([known, own], 1).log_softmax(1)
    found, bucket = both[:, :-1].contiguous(), both[:, -1]
    return found, bucket.clamp_min(REST_FLOOR), known[:, 0] - found[:, 0]


def _next(
    logits: Tensor,
    partition: Tensor,
    next_base: Sequence[int | None],
    next_target: Sequence[int | None],
    *,
    which: int,
) -> Tensor:
    """Log-probability of the token that follows; NaN where the two texts do not go on with the same characters."""
    known = torch.tensor(
        [left is not None and right is not None for left, right in zip(next_base, next_target, strict=True)]
    )
    chosen = next_base if which == 0 else next_target
    ids = torch.tensor([token if token is not None else 0 for token in chosen], device=logits.device)
    values = logits.gather(1, ids[:, None])[:, 0].float() - partition
    return values.masked_fill(~known.to(logits.device), torch.nan)


def _same_best(log_b: Tensor, rest_b: Tensor, log_t: Tensor, rest_t: Tensor) -> Tensor:
    """Whether both models' most likely token is the same shared token."""
    best_b, best_t = log_b.topk(1), log_t.topk(1)  # several times faster than max(1) on a CPU
    outside = (rest_b > best_b.values[:, 0]) | (rest_t > best_t.values[:, 0])
    return (best_b.indices[:, 0] == best_t.indices[:, 0]) & ~outside
