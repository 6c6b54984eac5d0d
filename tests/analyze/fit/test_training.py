"""The training loop: an exact batch top-k, and the gradients that automatic differentiation of the dense loss gives."""

from __future__ import annotations

import pytest
import torch

from analyze.fit import FitOptions
from analyze.fit.codes import largest
from analyze.fit.training import AUXILIARY_WEIGHT, DEAD_AFTER_STEPS, RowSource, Trainer

D, LATENTS, BATCH = 12, 40, 16


def trainer(dtype: torch.dtype = torch.float32, k: int = 3) -> Trainer:
    random = torch.Generator().manual_seed(1)
    rows = torch.randn(200, D, generator=random)
    source = RowSource(100, rows.mean(0), lambda picked: torch.cat([rows[picked], rows[100 + picked]]), dtype)
    return Trainer(source, FitOptions("s", 0, LATENTS, k, steps=10, batch=BATCH, seed=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("hint", [0.0, 0.5, 1.2, 100.0])
def test_the_largest_match_a_full_sort(dtype: torch.dtype, hint: float) -> None:
    active = torch.randn(30, 50, generator=torch.Generator().manual_seed(3)).to(dtype)
    codes, smallest = largest(active, 90, hint)
    assert smallest == float(active.flatten().sort(descending=True).values[89])
    dense = torch.zeros(30, 50)
    dense[codes.rows, codes.latents] = codes.values
    assert torch.equal(dense, torch.where(active >= smallest, active, 0).float())


def test_nothing_below_zero_is_taken() -> None:
    active = torch.full((4, 5), -1.0)
    active[2, 3] = 0.25
    codes, smallest = largest(active, 10, 0.0)
    assert (codes.rows.tolist(), codes.latents.tolist(), smallest) == ([2], [3], 0.25)
    assert largest(-torch.ones(2, 2), 1, 0.0)[1] == 0.0


def dense_gradients(state: Trainer, x: torch.Tensor, dead: torch.Tensor) -> list[torch.Tensor]:
    """Gradients of the loss as it is written in the papers, for (encoder, b_enc, w_dec, b_dec)."""
    encoder, b_enc, w_dec, b_dec = (
        p.clone().requires_grad_() for p in (state.encoder, *state.parameters[1:])
    )
    pre = (x - b_dec.detach()) @ encoder.T + b_enc
    winners = pre >= pre.flatten().sort(descending=True).values[state.options.k * len(x) - 1]
    error = x - (pre * winners) @ w_dec - b_dec
    loss = error.square().sum() / x.square().sum()
    if len(dead):
        left = error.detach()
        values, index = pre[:, dead].topk(min(len(dead), 4 * state.options.k), dim=1)
        codes = torch.zeros(len(x), len(dead)).scatter(1, index, values.relu())
        auxiliary = (left - codes @ w_dec[dead]).square().sum() / left.square().sum()
        loss = loss + AUXILIARY_WEIGHT * auxiliary
    loss.backward()
    tangent = w_dec.grad - (w_dec.grad * w_dec.detach()).sum(1, keepdim=True) * w_dec.detach()
    return [encoder.grad, b_enc.grad, tangent, b_dec.grad]


@pytest.mark.parametrize("n_dead", [0, 4, 30])
def test_gradients_are_those_of_the_dense_loss(n_dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    state, dead = trainer(), torch.arange(5, 5 + n_dead)
    # Nudged so that no gradient is zero by symmetry; the dead latents lose every row but still fire a little.
    state.b_enc.copy_(0.1 * torch.randn(LATENTS, generator=torch.Generator().manual_seed(2)))
    state.b_enc[dead] -= 1.0
    state.silent[dead] = DEAD_AFTER_STEPS + 1
    x = torch.randn(BATCH, D, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(state, "source", RowSource(100, x[0], lambda _picked: x, torch.float32))
    state.options = FitOptions("s", 0, LATENTS, 3, steps=10, batch=BATCH, seed=0, learning_rate=0.0)
    pre = (x - state.b_dec) @ state.encoder.T + state.b_enc
    won = (pre >= pre.flatten().sort(descending=True).values[3 * BATCH - 1]).any(0)
    silent = torch.tensor([int(j) for j in dead if not won[j]], dtype=torch.long)
    wanted = dense_gradients(state, x, silent)
    state.step(0)
    for parameter, gradient in zip(
        (state.encoder, state.b_enc, state.w_dec, state.b_dec), wanted, strict=True
    ):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)


def test_a_batch_of_zeros_leaves_finite_weights() -> None:
    state = trainer()
    state.source = RowSource(100, torch.zeros(D), lambda _picked: torch.zeros(BATCH, D), torch.float32)
    state.b_dec.zero_()
    state.step(0)
    assert all(bool(torch.isfinite(p).all()) for p in state.parameters)
