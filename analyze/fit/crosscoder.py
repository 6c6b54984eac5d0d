"""Learns a crosscoder: one sparse code for both models and a decoder for each; the widths may differ.

Lindsey et al. (2024), "Sparse crosscoders for cross-layer features and model diffing"; trained with BatchTopK as in
Minder et al. (2025), "Robustly identifying concepts introduced during chat fine-tuning using crosscoders", whose L1
penalty would shrink a shared latent's weaker decoder to zero. A latent's two decoders, concatenated, have norm 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from analyze.fit.inputs import check_rows, mean_square
from analyze.fit.training import FitOptions, RowSource, Trainer
from fi_store.dictionaries import Crosscoder, DictionaryConfig


def fit_crosscoder(
    first: torch.Tensor,
    second: torch.Tensor,
    options: FitOptions,
    advance: Callable[[int], None] = lambda _n: None,
) -> Crosscoder:
    """Fits on paired rows (n, d_first) and (n, d_second), in canonical order.

    Raises:
        AnalysisError: see `check_rows`; the widths may differ.
    """
    check_rows(first, second, options.layer, n_latents=options.n_latents, k=options.k, same_width=False)
    scales = input_scales(first, second)
    trainer = Trainer(_joined_rows(first, second, scales), options)
    for step in range(options.steps):
        trainer.step(step)
        advance(1)
    same = first.shape[1] == second.shape[1]
    config = DictionaryConfig(
        kind="crosscoder",
        site=options.site,
        layer=options.layer,
        d_model=first.shape[1],
        d_second=second.shape[1],
        n_latents=options.n_latents,
        k=options.k,
        seed=options.seed,
        steps=options.steps,
        scale=((scales[0] ** 2 + scales[1] ** 2) / 2) ** 0.5,
        input_scales=scales,
        threshold=trainer.threshold(),
        n_rows=len(first),
    )
    w_enc, b_enc, w_both, b_dec = (p.detach().contiguous() for p in trainer.parameters)
    w_dec = larger_decoder(w_both, first.shape[1], scales) if same else w_both.clone()
    return Crosscoder(config, w_dec=w_dec, w_enc=w_enc, b_enc=b_enc, b_dec=b_dec, w_both=w_both)


def input_scales(first: torch.Tensor, second: torch.Tensor) -> tuple[float, float]:
    """One scale per model: divided by it, both have the same mean squared norm, the mean of the two widths.

    For equal widths d this is sqrt(mean ||x||^2 / d) of each model. Otherwise a wider model would weigh more.
    """
    middle = (first.shape[1] + second.shape[1]) / 2
    scales = [(mean_square(x) * x.shape[1] / middle) ** 0.5 for x in (first, second)]
    return scales[0], scales[1]


def larger_decoder(w_both: torch.Tensor, d: int, scales: tuple[float, float]) -> torch.Tensor:
    """(m, d) unit-length rows: for each latent, the longer of its two decoders (m, 2 d) in raw units."""
    blocks = w_both[:, :d] * scales[0], w_both[:, d:] * scales[1]
    longer = blocks[1].norm(dim=1, keepdim=True) > blocks[0].norm(dim=1, keepdim=True)
    return torch.nn.functional.normalize(torch.where(longer, blocks[1], blocks[0]), dim=1)


def _joined_rows(first: torch.Tensor, second: torch.Tensor, scales: tuple[float, float]) -> RowSource:
    """A pair makes one row: both models' activations side by side, each in units of its own scale."""

    def draw(picked: torch.Tensor) -> torch.Tensor:
        parts = (x[picked].to(torch.float32) / s for x, s in zip((first, second), scales, strict=True))
        return torch.cat(list(parts), dim=1)

    mean = torch.cat([x.to(torch.float32).mean(0) / s for x, s in zip((first, second), scales, strict=True)])
    return RowSource(len(first), mean, draw, first.dtype)
