"""Thresholds of single latents: they keep firings that reduce the error, and are never under the common one."""

from __future__ import annotations

import numpy as np
import torch

from analyze.fit.thresholds import best_cuts, latent_thresholds
from analyze.fit.training import RowSource


def test_a_cut_leaves_out_what_costs_more_than_it_gains() -> None:
    latents = np.array([0, 0, 0, 1, 1, 2])
    active = np.array([1.0, 3.0, 2.0, 5.0, 4.0, 1.0], dtype=np.float32)
    gains = np.array([-1.0, 5.0, 1.0, 1.0, 1.0, -2.0])
    # Latent 0 keeps 3 and 2, latent 1 keeps all, latent 2 keeps nothing.
    assert best_cuts(latents, active, gains) == {0: 1.0, 2: 1.0}


def test_a_latent_that_echoes_another_is_cut_where_its_own_firings_begin() -> None:
    """Two directions with cosine 0.5, each encoded by a plain product: an echo is half as strong."""
    random = torch.Generator().manual_seed(0)
    w_dec = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.75**0.5, 0.0]])
    own = torch.randint(2, (2000,), generator=random)
    size = 2 + 0.2 * torch.rand(2000, generator=random)
    rows = size[:, None] * w_dec[own] + 0.01 * torch.randn(2000, 3, generator=random)
    source = RowSource(2000, rows.mean(0), lambda picked: rows[picked], torch.float32)
    parameters = (w_dec.T.contiguous(), torch.zeros(2), w_dec, torch.zeros(3))
    found = latent_thresholds(source, parameters, common=0.5)
    assert ((found > 0.9) & (found < 2.0)).all()
    assert torch.equal(latent_thresholds(source, parameters, common=1.5), torch.full((2,), 1.5))
