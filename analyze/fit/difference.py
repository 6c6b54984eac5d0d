"""Learns directions of the difference second - first: a sparse autoencoder, principal components, the mean shift.

A difference belongs to neither model, so the activity along a direction is measured in each (`fi_store.dictionaries`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch

from analyze.extraction import CLASSES
from analyze.fit.inputs import check_rows, common_scale, pooled_mean
from analyze.fit.training import FitOptions, RowSource, Trainer
from analyze.shards import BLOCK
from fi_store.dictionaries import DictionaryConfig, DiffSae, MeanDiff, Pca, project, scaled_difference
from fi_store.errors import AnalysisError


def fit_diff_sae(
    first: torch.Tensor,
    second: torch.Tensor,
    options: FitOptions,
    advance: Callable[[int], None] = lambda _n: None,
) -> DiffSae:
    """A BatchTopK SAE of the differences of paired rows (n, d), in canonical order.

    Raises:
        AnalysisError: see `check_rows`; or the models' rows are all equal.
    """
    check_rows(first, second, options.layer, n_latents=options.n_latents, k=options.k)
    scale, difference_scale = common_scale(first, second), _difference_scale(first, second, options)
    means = first.to(torch.float32).mean(0), second.to(torch.float32).mean(0)
    mean = scaled_difference(means, difference_scale)

    def draw(picked: torch.Tensor) -> torch.Tensor:
        return scaled_difference((first[picked], second[picked]), difference_scale)

    trainer = Trainer(RowSource(len(first), mean, draw, first.dtype), options)
    for step in range(options.steps):
        trainer.step(step)
        advance(1)
    config = _config(
        "diff_sae", first, options, options.n_latents, scale, difference_scale, trainer.threshold()
    )
    w_enc, b_enc, w_dec, b_dec = (p.detach().contiguous() for p in trainer.parameters)
    unsigned = torch.ones(options.n_latents)
    center = pooled_mean(first, second, scale)
    learned = DiffSae(config, w_dec, center, w_enc=w_enc, b_enc=b_enc, b_dec=b_dec, polarity=unsigned)
    sign = polarity(learned.w_dec, center, scale, (first, second), lambda rows, _at: learned.encode(rows) > 0)
    return DiffSae(
        config, w_dec * sign[:, None], center, w_enc=w_enc, b_enc=b_enc, b_dec=b_dec, polarity=sign
    )


def fit_pca(
    first: torch.Tensor,
    second: torch.Tensor,
    options: FitOptions,
    advance: Callable[[int], None] = lambda _n: None,
) -> Pca:
    """The k leading eigenvectors of mean (second - first)(second - first)^T, each with both signs: 2 k latents.

    Differences are not centered, since the mean shift is part of them. A component's sign is fixed by its largest
    entry.

    Raises:
        AnalysisError: see `check_rows`; or the models' rows are all equal.
    """
    d = first.shape[1]
    k = min(options.k, d)
    check_rows(first, second, options.layer, n_latents=2 * k, k=k)
    scale, difference_scale = common_scale(first, second), _difference_scale(first, second, options)
    moment = torch.zeros(d, d, dtype=torch.float64)
    for start in range(0, len(first), BLOCK):
        block = first[start : start + BLOCK], second[start : start + BLOCK]
        x = scaled_difference(block, difference_scale).double()
        moment += x.T @ x
    _, vectors = scipy.linalg.eigh(moment.numpy(), subset_by_index=(d - k, d - 1))
    components = np.asarray(vectors[:, ::-1].T)  # (k, d), largest eigenvalue first
    components *= np.sign(components[np.arange(k), np.abs(components).argmax(axis=1)])[:, None]
    rows = torch.from_numpy(np.concatenate([components, -components])).to(torch.float32)
    advance(options.steps)
    config = _config("pca", first, options, 2 * k, scale, difference_scale, 0.0)
    return Pca(config, rows, pooled_mean(first, second, scale))


def fit_mean_diff(
    first: torch.Tensor,
    second: torch.Tensor,
    options: FitOptions,
    advance: Callable[[int], None] = lambda _n: None,
    *,
    classes: torch.Tensor,
) -> MeanDiff:
    """The mean of second - first over the rows of each position class (`classes`: (n,) int64).

    Raises:
        AnalysisError: see `check_rows`; or the models' rows are all equal.
    """
    check_rows(first, second, options.layer, n_latents=len(CLASSES), k=1)
    scale, difference_scale = common_scale(first, second), _difference_scale(first, second, options)
    here = torch.nn.functional.one_hot(classes, len(CLASSES)).double()  # (n, classes)
    total = here.T @ scaled_difference((first, second), 1.0).double()
    shift = (total / here.sum(dim=0).clamp_min(1)[:, None]).to(torch.float32)
    rows = torch.nn.functional.normalize(shift, dim=1)
    center = pooled_mean(first, second, scale)
    sign = polarity(rows, center, scale, (first, second), lambda _rows, at: here[at] > 0)
    advance(options.steps)
    config = _config("mean_diff", first, options, len(CLASSES), scale, difference_scale, 0.0)
    return MeanDiff(config, rows * sign[:, None], center, shift)


def polarity(
    directions: torch.Tensor,
    center: torch.Tensor,
    scale: float,
    pair: tuple[torch.Tensor, torch.Tensor],
    is_open: Callable[[tuple[torch.Tensor, torch.Tensor], slice], torch.Tensor],
) -> torch.Tensor:
    """(m,) +1 or -1: the sign of both models' summed projections, over the rows where a latent is open.

    second - first has a positive projection there, so this sign gives the direction to the model with the larger mean
    projection in absolute value: (p2 - p1)(p2 + p1) > 0 means |p2| > |p1|.
    """
    total = torch.zeros(len(directions), dtype=torch.float64)
    for start in range(0, len(pair[0]), BLOCK):
        at = slice(start, start + BLOCK)
        rows = pair[0][at], pair[1][at]
        both = project(rows[0], scale, center, directions) + project(rows[1], scale, center, directions)
        total += (both * is_open(rows, at)).sum(dim=0, dtype=torch.float64)
    return torch.where(total < 0, -1.0, 1.0)


def _difference_scale(first: torch.Tensor, second: torch.Tensor, options: FitOptions) -> float:
    """Root mean square of the differences' components."""
    total = 0.0
    for start in range(0, len(first), BLOCK):
        x = scaled_difference((first[start : start + BLOCK], second[start : start + BLOCK]), 1.0)
        total += float(x.square().sum(dtype=torch.float64))
    if total == 0:
        raise AnalysisError(
            f"Both models' activations of layer {options.layer} are equal, so there is nothing to learn."
        )
    return float((total / first.numel()) ** 0.5)


def _config(
    kind: str,
    first: torch.Tensor,
    options: FitOptions,
    n_latents: int,
    scale: float,
    difference_scale: float,
    threshold: float,
) -> DictionaryConfig:
    learned = kind == "diff_sae"
    return DictionaryConfig(
        kind=kind,
        site=options.site,
        layer=options.layer,
        d_model=first.shape[1],
        d_second=first.shape[1],
        n_latents=n_latents,
        k=options.k if learned else n_latents // 2 if kind == "pca" else 1,
        seed=options.seed,
        steps=options.steps if learned else 0,
        scale=scale,
        input_scales=(difference_scale, difference_scale),
        threshold=threshold,
        n_rows=len(first),
    )
