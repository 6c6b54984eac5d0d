"""Log-probabilities of given tokens and their gradients by the logits, in blocks of rows and without a graph."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from extract.reading.divergence import BLOCK_ROWS, TokenIds

END = -1
"""Stands for any of the tokens with which a model ends an answer."""


class Likelihood(NamedTuple):
    """log p of a token at each of n positions, in nats, and the gradient of their weighted sum by the logits."""

    logprobs: Tensor  # (n,) float32
    gradient: Tensor | None  # (n, V) in the logits' dtype


def padding(tokens: TokenIds, n_logits: int) -> Tensor | None:
    """(n_logits,) bool: the logits that belong to no token of the tokenizer. None if there are none.

    They are left out of the softmax, as in divergences.
    """
    if len(tokens.shared) + len(tokens.rest) == n_logits:
        return None
    padded = torch.ones(n_logits, dtype=torch.bool)
    padded[tokens.shared] = padded[tokens.rest] = False
    return padded


@torch.no_grad()
def likelihood(
    logits: Tensor, ids: Tensor, ends: Tensor, padded: Tensor | None, weights: Tensor | None
) -> Likelihood:
    """The log-probabilities of `ids` (n,) under logits (n, V), and the gradient if there are `weights` (n,).

    `END` among the ids is the probability that the answer ends: that of all tokens in `ends` together. With
    L = sum_i w_i log p_i, dL/dlogits_i = w_i (q_i - p_i), where q_i is 1 at the token (or p within `ends`).
    """
    logprobs = torch.empty(len(logits), device=logits.device)
    gradient = torch.empty_like(logits) if weights is not None else None
    for start in range(0, len(logits), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        block = logits[rows].float()
        if padded is not None:
            block = block.masked_fill(padded, -torch.inf)
        block = block.log_softmax(1)
        ended = ids[rows] == END
        tokens = ids[rows].clamp(min=0)[:, None]
        logprobs[rows] = block.gather(1, tokens)[:, 0]
        ending = block[ended][:, ends]  # (e, E)
        if len(ending):
            logprobs[rows][ended] = ending.logsumexp(1)
        if gradient is not None and weights is not None:
            slope = block.exp_().neg_()
            slope.scatter_add_(1, tokens, (~ended).float()[:, None])
            if len(ending):
                at = ended.nonzero()
                slope[at, ends] = slope[at, ends] + ending.softmax(1)
            gradient[rows] = (slope * weights[rows, None]).to(gradient.dtype)
    return Likelihood(logprobs, gradient)


@torch.no_grad()
def divergence_terms(
    logits: Tensor, others: Tensor, padded: Tensor | None, owners: Tensor, into: Tensor
) -> None:
    """Adds p log(p / q) of each token (n, V), p of `logits` and q of `others`, to the rows `owners` (n,) of `into`."""
    owners, padded = owners.to(logits.device), None if padded is None else padded.to(logits.device)
    for start in range(0, len(logits), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        p, q = logits[rows].float(), others[rows].float()
        if padded is not None:  # finite, so that their terms are 0
            lowest = torch.finfo(torch.float32).min / 2
            p, q = p.masked_fill(padded, lowest), q.masked_fill(padded, lowest)
        p, q = p.log_softmax(1), q.log_softmax(1)
        into.index_add_(0, owners[rows], p.exp() * (p - q))
