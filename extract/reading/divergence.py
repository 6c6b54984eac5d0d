"""Compares two next-token distributions at each kept position: KL both ways, agreement, the largest contributions.

Everything is computed in float32 from the models' own logits, in blocks of rows so that it needs little memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from extract.texts import spelled, writing_of
from fi_store.errors import ExtractionError
from fi_store.method import METHOD

BLOCK_ROWS = 16
"""Rows at a time: the float32 buffers of a block then fit in a core's cache (twice as fast as 64 rows)."""
REST_FLOOR = -20.723  # log 1e-9
"""Log-probability of the rest bucket of a model that has no tokens besides the shared ones."""


class TokenIds(NamedTuple):
    """The token ids of one model: those it shares with the other, in an order common to both, and the rest."""

    shared: Tensor  # (V,) int64
    rest: Tensor  # (R,) int64


@dataclass(frozen=True)
class VocabularyMap:
    """Which logits of the two models belong to the same token.

    Matched tokens are ordered by the base's ids. All other tokens of a model form one rest bucket.
    Padded logits (which belong to no token of the tokenizer) are left out of the softmax, since no text contains them.
    """

    base: TokenIds
    target: TokenIds

    @property
    def has_rest(self) -> bool:
        """Whether at least one model has a token that the other lacks."""
        return bool(len(self.base.rest) or len(self.target.rest))

    @property
    def coverage(self) -> str | None:
        """A sentence about the tokens that only one model has; None if there are none."""
        if not self.has_rest:
            return None
        shares = [len(side.shared) / (len(side.shared) + len(side.rest)) for side in (self.base, self.target)]
        return (
            f"The vocabularies share {len(self.base.shared):,} tokens: {shares[0]:.0%} of the base's and "
            f"{shares[1]:.0%} of the target's. The probability of all others is compared as one."
        )

    @cached_property
    def prefix(self) -> int | None:
        """V if the shared tokens are exactly the first V ids of both models and there is no rest, else None."""
        count = len(self.base.shared)
        first = torch.arange(count)
        same = bool((self.base.shared == first).all() and (self.target.shared == first).all())
        return count if same and not self.has_rest else None


class Divergence(NamedTuple):
    """Columns of `token_divergence`, one row per position, on the CPU (in nats; ids are the base's)."""

    logprob_base: Tensor  # (n,) float32; NaN if the next token is unknown
    logprob_target: Tensor
    kl_target_base: Tensor  # (n,) float32
    kl_base_target: Tensor
    agree: Tensor  # (n,) bool
    promoted_ids: Tensor  # (n, k) int64
    promoted_kl: Tensor  # (n, k) float32
    suppressed_ids: Tensor
    suppressed_kl: Tensor
    rest_base: Tensor  # (n,) float32: probability of the tokens that only this model has
    rest_target: Tensor


class _Prediction(NamedTuple):
    """One model's log-probabilities at n positions."""

    shared: Tensor  # (n, V), of the shared tokens
    rest: Tensor  # (n,), of the rest bucket
    following: Tensor  # (n,), of the token that follows; meaningless if it is unknown


def map_vocabularies(base: Any, target: Any, base_logits: int, target_logits: int) -> VocabularyMap:
    """Matches two tokenizers' tokens and ignores ids beyond a model's number of logits.

    Tokens are matched by name, or, where the tokenizers write names differently, by what they decode to.

    Raises:
        ExtractionError: the vocabularies have no token in common.
    """
    alike = writing_of(base) == writing_of(target)
    names: Any = [tokenizer.get_vocab() if alike else spelled(tokenizer) for tokenizer in (base, target)]
    left = {text: number for text, number in names[0].items() if number < base_logits}
    right = {text: number for text, number in names[1].items() if number < target_logits}
    shared = sorted((left[text], right[text]) for text in left.keys() & right.keys())
    if not shared:
        raise ExtractionError(
            "The models' vocabularies have no token in common, so their predictions cannot be compared.",
            hint="compare models whose tokenizers have tokens in common",
        )
    return VocabularyMap(
        _token_ids([pair[0] for pair in shared], [left[text] for text in left.keys() - right.keys()]),
        _token_ids([pair[1] for pair in shared], [right[text] for text in right.keys() - left.keys()]),
    )


def _token_ids(shared: list[int], rest: list[int]) -> TokenIds:
    return TokenIds(torch.tensor(shared, dtype=torch.long), torch.tensor(sorted(rest), dtype=torch.long))


@torch.inference_mode()
def diverge(
    base_logits: Tensor,
    target_logits: Tensor,
    next_base: Sequence[int | None],
    next_target: Sequence[int | None],
    vocabulary: VocabularyMap,
) -> Divergence:
    """Compares logits (n, V_base) and (n, V_target) row by row.

    KL(p_t || p_b) = sum_v p_t (log p_t - log p_b). Its terms are the contributions of the promoted tokens; those of
    KL(p_b || p_t) are the contributions of the suppressed tokens. `next_*` are the ids of the tokens that follow, in
    each model's own ids.
    """
    blocks = []
    for start in range(0, len(base_logits), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        base = _predict(base_logits[rows], next_base[rows], vocabulary.base, vocabulary.prefix)
        target = _predict(target_logits[rows], next_target[rows], vocabulary.target, vocabulary.prefix)
        unknown = torch.tensor(
            [None in pair for pair in zip(next_base[rows], next_target[rows], strict=True)],
            device=base_logits.device,
        )
        blocks.append(_compare(base, target, unknown, vocabulary))
    return Divergence(*(torch.cat(column) for column in zip(*blocks, strict=True)))


def _predict(
    logits: Tensor, next_ids: Sequence[int | None], tokens: TokenIds, prefix: int | None
) -> _Prediction:
    """One model's log-probabilities, from its logits (n, V_model)."""
    shared_logits = logits[:, :prefix] if prefix is not None else logits[:, tokens.shared.to(logits.device)]
    shared_logits = shared_logits.float()
    if len(tokens.rest):
        rest_logits = logits[:, tokens.rest.to(logits.device)].float().logsumexp(1, keepdim=True)
        both = torch.cat([shared_logits, rest_logits], 1).log_softmax(1)
        shared, rest = both[:, :-1].contiguous(), both[:, -1].clamp_min(REST_FLOOR)
    else:
        shared = shared_logits.log_softmax(1)
        rest = shared.new_full((len(shared),), REST_FLOOR)
    log_partition = shared_logits[:, 0] - shared[:, 0]
    ids = torch.tensor([0 if token is None else token for token in next_ids], device=logits.device)
    following = logits.gather(1, ids[:, None])[:, 0].float() - log_partition
    return _Prediction(shared, rest, following)


def _compare(
    base: _Prediction, target: _Prediction, unknown: Tensor, vocabulary: VocabularyMap
) -> Divergence:
    """Compares both models' predictions at some positions and overwrites their `shared`.

    unknown: (n,) bool, whether the token that follows is unknown or the two texts continue with different characters.
    """
    agree = _same_best(base, target)
    gap = target.shared - base.shared  # (n, V)
    # In place: these are the largest tensors, and they are not needed again.
    promoted = target.shared.exp_().mul_(gap)
    suppressed = base.shared.exp_().mul_(gap.neg_())
    kl_target_base, kl_base_target = promoted.sum(1), suppressed.sum(1)
    if vocabulary.has_rest:
        rest_gap = target.rest - base.rest
        kl_target_base = kl_target_base + target.rest.exp() * rest_gap
        kl_base_target = kl_base_target - base.rest.exp() * rest_gap
    count = min(METHOD.stored_tokens, promoted.shape[1])
    top_promoted, top_suppressed = promoted.topk(count, dim=1), suppressed.topk(count, dim=1)
    ids = vocabulary.base.shared.to(gap.device)
    columns = Divergence(
        logprob_base=base.following.masked_fill(unknown, torch.nan),
        logprob_target=target.following.masked_fill(unknown, torch.nan),
        kl_target_base=kl_target_base.clamp_min(0.0),  # rounding can make a sum of float32 terms negative
        kl_base_target=kl_base_target.clamp_min(0.0),
        agree=agree,
        promoted_ids=ids[top_promoted.indices],
        promoted_kl=top_promoted.values,
        suppressed_ids=ids[top_suppressed.indices],
        suppressed_kl=top_suppressed.values,
        rest_base=base.rest.exp(),
        rest_target=target.rest.exp(),
    )
    return Divergence(*(column.cpu() for column in columns))


def _same_best(base: _Prediction, target: _Prediction) -> Tensor:
    """Whether both models' most likely token is the same shared token."""
    # On a CPU, topk(1) is several times faster than max(1).
    best_base, best_target = base.shared.topk(1), target.shared.topk(1)
    outside = (base.rest > best_base.values[:, 0]) | (target.rest > best_target.values[:, 0])
    return (best_base.indices[:, 0] == best_target.indices[:, 0]) & ~outside
