"""Learns a paired sparse autoencoder: one BatchTopK dictionary over rows of both models, with one common scale.

Which model is called base is not known here: callers pass the rows in canonical order, so that swapping the pair
gives the same weights bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from analyze.dictionaries.training import FitOptions, RowSource, Trainer
from fi_store.dictionary import DictionaryConfig, SparseDictionary
from fi_store.errors import AnalysisError


def common_scale(first: torch.Tensor, second: torch.Tensor) -> float:
    """s = sqrt(mean over pooled rows of ||x||^2 / d): one scale for both models (METHOD section 2)."""
    total = sum(float(x.to(torch.float32).square().sum(dtype=torch.float64)) for x in (first, second))
    return float((total / (first.numel() + second.numel())) ** 0.5)


def fit_paired_sae(
    first: torch.Tensor,
    second: torch.Tensor,
    options: FitOptions,
    advance: Callable[[int], None] = lambda _n: None,
) -> SparseDictionary:
    """Fits on paired rows (n, d) of two models of the same width, in canonical order.

    Each step draws `batch / 2` pairs, so both models weigh the same. Products run in bfloat16 where that is the
    rows' dtype, master weights stay float32. Deterministic for a seed and thread count.

    Raises:
        AnalysisError: shapes differ, rows are all zero or fewer than latents, k exceeds the latents.
    """
    n, d = first.shape
    if first.shape != second.shape:
        raise AnalysisError(
            f"A paired SAE needs equal shapes, found {tuple(first.shape)} and {tuple(second.shape)}."
        )
    if options.k > options.n_latents:
        raise AnalysisError(f"k = {options.k} exceeds the {options.n_latents} latents.")
    if 2 * n < options.n_latents:
        raise AnalysisError(
            f"Layer {options.layer} has {2 * n} rows for {options.n_latents} latents.",
            hint="use more prompts or --n-latents with a smaller number",
        )
    scale = common_scale(first, second)
    if not scale > 0:
        raise AnalysisError(f"The activations of layer {options.layer} are all zero.")
    trainer = Trainer(_pooled_rows(first, second, scale), options)
    for step in range(options.steps):
        trainer.step(step)
        advance(1)
    config = DictionaryConfig(
        kind="paired_sae",
        site=options.site,
        layer=options.layer,
        d_model=d,
        n_latents=options.n_latents,
        k=options.k,
        seed=options.seed,
        steps=options.steps,
        scale=scale,
        threshold=trainer.threshold(),
        n_rows=n,
    )
    return SparseDictionary(config, *(p.detach().contiguous() for p in trainer.parameters))


def _pooled_rows(first: torch.Tensor, second: torch.Tensor, scale: float) -> RowSource:
    """A pair gives two rows, one of either model, in units of the common scale."""

    def draw(picked: torch.Tensor) -> torch.Tensor:
        return torch.cat([first[picked], second[picked]]).to(torch.float32) / scale

    mean = (first.to(torch.float32).mean(0) + second.to(torch.float32).mean(0)) / (2 * scale)
    return RowSource(len(first), mean, draw, first.dtype)
