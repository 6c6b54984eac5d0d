"""Checks that every fit makes on its rows first, and the scales that divide its inputs."""

from __future__ import annotations

import torch

from fi_store.errors import AnalysisError


def check_rows(
    first: torch.Tensor,
    second: torch.Tensor,
    layer: int,
    *,
    n_latents: int,
    k: int,
    rows_per_pair: int = 1,
    same_width: bool = True,
) -> None:
    """Refuses rows (n, d_first) and (n, d_second) that nothing can be learned from.

    Raises:
        AnalysisError: the shapes do not match, k exceeds the number of latents, there are fewer rows than latents, or a
            model's rows hold NaN or infinite values, are all zero or all the same.
    """
    if len(first) != len(second) or (same_width and first.shape != second.shape):
        raise AnalysisError(
            f"This dictionary needs equal shapes, found {tuple(first.shape)} and {tuple(second.shape)}.",
            hint="--dictionary crosscoder takes models of different widths",
        )
    if k > n_latents:
        raise AnalysisError(f"k = {k} exceeds the {n_latents} latents.", hint="use --k with a smaller number")
    if rows_per_pair * len(first) < n_latents:
        raise AnalysisError(
            f"Layer {layer} has {rows_per_pair * len(first)} rows for {n_latents} latents.",
            hint="use more prompts or --n-latents with a smaller number",
        )
    for x in (first, second):
        if not bool(torch.isfinite(x).all()):
            raise AnalysisError(
                f"The activations of layer {layer} hold NaN or infinite values.",
                hint="extract again with --quantization fp32",
            )
        if not bool((x != x[:1]).any()):
            fault = "all zero" if not bool(x.any()) else "the same at every position"
            raise AnalysisError(
                f"The activations of layer {layer} are {fault}.", hint="choose other --layers or --sites"
            )


def mean_square(x: torch.Tensor) -> float:
    """Mean square of the components of x (n, d), accumulated in float64."""
    return float(x.to(torch.float32).square().sum(dtype=torch.float64)) / x.numel()


def common_scale(first: torch.Tensor, second: torch.Tensor) -> float:
    """s = sqrt(mean over pooled rows of ||x||^2 / d): one scale for both models (METHOD section 4)."""
    total = mean_square(first) * first.numel() + mean_square(second) * second.numel()
    return float((total / (first.numel() + second.numel())) ** 0.5)


def pooled_mean(first: torch.Tensor, second: torch.Tensor, scale: float) -> torch.Tensor:
    """(d,) mean of both models' rows in units of the scale."""
    return (first.to(torch.float32).mean(0) + second.to(torch.float32).mean(0)) / (2 * scale)
