"""Refitted codes are the non-negative least squares that scipy finds on the support; nothing else becomes active."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from fi_store.dictionaries.refit import WIDTH, refit


def _problem(
    seed: int, active: int, m: int = 64, d: int = 24
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes (5, m) with up to `active` active latents per row, rows (5, d), unit-length directions (m, d)."""
    random = torch.Generator().manual_seed(seed)
    w_dec = torch.nn.functional.normalize(torch.randn(m, d, generator=random), dim=1)
    codes = torch.zeros(5, m)
    for row in range(1, 5):  # nothing is active in the first row
        order = torch.randperm(m, generator=random)
        latents = order[: int(torch.randint(1, active + 1, (), generator=random))]
        codes[row, latents] = 0.1 + torch.rand(len(latents), generator=random)
    return codes, codes @ w_dec + 0.3 * torch.randn(5, d, generator=random), w_dec


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), active=st.integers(1, 2 * WIDTH))
def test_it_is_non_negative_least_squares_on_the_support(seed: int, active: int) -> None:
    codes, x, w_dec = _problem(seed, active)
    found = refit(codes, x, w_dec)
    assert not found[0].any()
    assert bool((found >= 0).all())
    assert not found[codes == 0].any()
    for row in range(1, 5):
        support = np.flatnonzero(codes[row].numpy())
        best, error = nnls(w_dec.numpy()[support].T.astype(np.float64), x[row].numpy().astype(np.float64))
        assert float((x[row] - found[row] @ w_dec).norm()) == pytest.approx(error, rel=1e-3, abs=1e-4)
        if len(support) <= WIDTH:  # so few directions are nearly independent, so the codes themselves agree
            np.testing.assert_allclose(found[row].numpy()[support], best, atol=0.05)


def test_many_overlapping_directions_are_solved_too() -> None:
    random = torch.Generator().manual_seed(0)
    # The cosines of the directions are about 0.8.
    w_dec = torch.randn(200, 96, generator=random) + 2 * torch.randn(96, generator=random)
    w_dec = torch.nn.functional.normalize(w_dec, dim=1)
    codes = 0.1 + torch.rand(3, 200, generator=random)
    x = codes @ w_dec + 0.3 * torch.randn(3, 96, generator=random)
    found = refit(codes, x, w_dec)
    for row in range(3):
        _, error = nnls(w_dec.numpy().T.astype(np.float64), x[row].numpy().astype(np.float64))
        left = float((x[row] - found[row] @ w_dec).norm())
        assert left <= error + 0.005 * float(x[row].norm())


def test_what_already_fits_stays() -> None:
    codes, _, w_dec = _problem(0, 6)
    torch.testing.assert_close(refit(codes, codes @ w_dec, w_dec), codes, atol=1e-4, rtol=1e-3)
