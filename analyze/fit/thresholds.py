"""A threshold for every latent: the activation above which its firings remove more error than they add.

BatchTopK trains with one threshold for all latents. Many directions share few dimensions, so a latent also responds a
little to the directions of others. The activation that separates the two kinds of response differs by latent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from analyze.fit.training import RowSource
from analyze.shards import BLOCK

SAMPLE = 16_384
"""Draws of the source, evenly spread, on which thresholds are chosen."""


def latent_thresholds(
    source: RowSource,
    parameters: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    common: float,
) -> torch.Tensor:
    """(m,) thresholds, none under the common one.

    `parameters` are W_enc (d, m), b_enc (m,), W_dec (m, d) with unit-length rows and b_dec (d,). If a firing f of
    latent j is left out and the others stay, the error e becomes e + f d_j and ||e||^2 grows by f (2 <e, d_j> + f).
    Each latent gets the threshold above which its firings have the largest total gain.
    """
    w_enc, b_enc, w_dec, b_dec = parameters
    latents, active, gains = [], [], []
    sample = torch.linspace(0, source.n - 1, min(source.n, SAMPLE), dtype=torch.float64).long()
    for start in range(0, len(sample), BLOCK):
        x = source.draw(sample[start : start + BLOCK])
        pre = torch.addmm(b_enc, x - b_dec, w_enc)
        codes = torch.where(pre > common, pre.relu(), 0.0)
        error = x - codes @ w_dec - b_dec
        rows, latent = torch.nonzero(codes, as_tuple=True)
        f = codes[rows, latent]
        latents.append(latent.numpy())
        active.append(f.numpy())
        gains.append((f * (2 * (error @ w_dec.T)[rows, latent] + f)).double().numpy())
    cuts = best_cuts(np.concatenate(latents), np.concatenate(active), np.concatenate(gains))
    thresholds = torch.full_like(b_enc, common)
    for index, cut in cuts.items():
        thresholds[index] = max(common, cut)
    return thresholds


def best_cuts(
    latents: npt.NDArray[np.int64], active: npt.NDArray[np.float32], gains: npt.NDArray[np.float64]
) -> dict[int, float]:
    """Latent -> the largest activation to leave out, chosen so that the gains above it have the largest sum.

    All arrays have one entry per firing. A latent whose firings are all kept is not listed.
    """
    order = np.lexsort((-active, latents))
    latents, active, gains = latents[order], active[order], gains[order]
    starts = np.flatnonzero(np.diff(latents, prepend=-1))
    cuts = {}
    for start, end in zip(starts, [*starts[1:], len(latents)], strict=True):
        sums = np.concatenate([[0.0], np.cumsum(gains[start:end])])
        kept = int(sums.argmax())
        if kept < end - start:
            cuts[int(latents[start])] = float(active[start + kept])
    return cuts
