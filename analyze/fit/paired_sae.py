"""Learns a paired sparse autoencoder: one BatchTopK dictionary over rows of both models, with one common scale.

This module does not know which model is the base: callers pass the rows in canonical order, so swapping the pair gives
the same weights to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from analyze.fit.inputs import check_rows, common_scale, pooled_mean
from analyze.fit.thresholds import latent_thresholds
from analyze.fit.training import FitOptions, RowSource, Trainer
from fi_store.dictionaries import DictionaryConfig, PairedSae


def fit_paired_sae(
    first: torch.Tensor,
    second: torch.Tensor,
    options: FitOptions,
    advance: Callable[[int], None] = lambda _n: None,
) -> PairedSae:
    """Fits on paired rows (n, d) of two models of the same width, in canonical order.

    Each step draws `batch / 2` pairs, so both models weigh the same. Products run in bfloat16 if that is the rows'
    dtype; master weights stay float32. The result is deterministic for a seed and thread count.

    Raises:
        AnalysisError: see `check_rows`.
    """
    check_rows(first, second, options.layer, n_latents=options.n_latents, k=options.k, rows_per_pair=2)
    scale = common_scale(first, second)
    source = _pooled_rows(first, second, scale)
    trainer = Trainer(source, options)
    for step in range(options.steps):
        trainer.step(step)
        advance(1)
    config = DictionaryConfig(
        kind="paired_sae",
        site=options.site,
        layer=options.layer,
        d_model=first.shape[1],
        d_second=first.shape[1],
        n_latents=options.n_latents,
        k=options.k,
        seed=options.seed,
        steps=options.steps,
        scale=scale,
        input_scales=(scale, scale),
        threshold=trainer.threshold(),
        n_rows=len(first),
    )
    w_enc, b_enc, w_dec, b_dec = (p.detach().contiguous() for p in trainer.parameters)
    threshold = latent_thresholds(source, trainer.parameters, config.threshold)
    return PairedSae(config, w_dec=w_dec, w_enc=w_enc, b_enc=b_enc, b_dec=b_dec, threshold=threshold)


def _pooled_rows(first: torch.Tensor, second: torch.Tensor, scale: float) -> RowSource:
    """A pair makes two rows, one of each model, in units of the common scale."""

    def draw(picked: torch.Tensor) -> torch.Tensor:
        return torch.cat([first[picked], second[picked]]).to(torch.float32) / scale

    return RowSource(len(first), pooled_mean(first, second, scale), draw, first.dtype)
