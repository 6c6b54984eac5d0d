"""Log-probabilities and their gradients are those of torch's own log-softmax and autograd."""

from __future__ import annotations

import pytest
import torch

from extract.reading.divergence import BLOCK_ROWS, TokenIds
from extract.reading.likelihood import END, likelihood, padding

N, V = 3 * BLOCK_ROWS + 1, 40
ENDS = torch.tensor([5, 9])


@pytest.mark.parametrize("padded", [False, True])
def test_log_probabilities_and_gradients_match_autograd(padded: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(N, V, generator=generator, requires_grad=True)
    ids = torch.randint(0, 30, (N,), generator=generator)
    ids[::7] = END
    weights = torch.randn(N, generator=generator)
    tokens = TokenIds(torch.arange(32), torch.tensor([33]))
    mask = padding(tokens, V) if padded else None
    assert mask is None or mask.nonzero()[:, 0].tolist() == [32, *range(34, 40)]
    whole = logits if mask is None else logits.masked_fill(mask, -torch.inf)
    probabilities = whole.softmax(1)
    expected = torch.stack(
        [
            row[ENDS].sum().log() if one == END else row[one].log()
            for row, one in zip(probabilities, ids, strict=True)
        ]
    )
    (gradient,) = torch.autograd.grad(expected @ weights, logits)
    found = likelihood(logits.detach(), ids, ENDS, mask, weights)
    torch.testing.assert_close(found.logprobs, expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.gradient, gradient, rtol=1e-4, atol=1e-6)
    assert likelihood(logits.detach(), ids, ENDS, mask, None).gradient is None


def test_a_vocabulary_without_padding_needs_no_mask() -> None:
    assert padding(TokenIds(torch.arange(32), torch.tensor([33])), 33) is None
