"""Learns directions of the difference second - first: a sparse autoencoder, principal components, the mean shift.

A difference has no owner, so each model's own activity along a direction is measured (`fi_store.dictionary`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch

from analyze.extraction import CLASSES
from analyze.fit.inputs import BLOCK, check_rows, common_scale, pooled_mean
from analyze.fit.training import FitOptions, RowSource, Trainer
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
        AnalysisError: as `check_rows`; the models' rows are all equal.
    """
    check_rows(first, second, options.layer, n_latents=options.n_latents, k=options.k)
    scale, unit = common_scale(first, second), _difference_scale(first, second, options)
    mean = scaled_difference((first.to(torch.float32).mean(0), second.to(torch.float32).mean(0)), unit)

    def draw(picked: torch.Tensor) -> torch.Tensor:
        return scaled_difference((first[picked], second[picked]), unit)

    trainer = Trainer(RowSource(len(first), mean, draw, first.dtype), options)
    for step in range(options.steps):
        trainer.step(step)
        advance(1)
    config = _config("diff_sae", first, options, options.n_latents, scale, unit, trainer.threshold())
    w_enc, b_enc, w_dec, b_dec = (p.detach().contiguous() for p in trainer.parameters)
    one = torch.ones(options.n_latents)
    center = pooled_mean(first, second, scale)
    learned = DiffSae(config, w_dec, center, w_enc=w_enc, b_enc=b_enc, b_dec=b_dec, polarity=one)
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

    Not centered: the mean shift is a part of the difference. A component's sign is fixed by its largest entry.

    Raises:
        AnalysisError: as `check_rows`; the models' rows are all equal.
    """
    d = first.shape[1]
    k = min(options.k, d)
    check_rows(first, second, options.layer, n_latents=2 * k, k=k)
    scale, unit = common_scale(first, second), _difference_scale(first, second, options)
    moment = torch.zeros(d, d, dtype=torch.float64)
    for start in range(0, len(first), BLOCK):
        x = scaled_difference((first[start : start + BLOCK], second[start : start + BLOCK]), unit).double()
        moment += x.T @ x
    _, vectors = scipy.linalg.eigh(moment.numpy(), subset_by_index=(d - k, d - 1))
    components = np.asarray(vectors[:, ::-1].T)  # (k, d), largest eigenvalue first
    components *= np.sign(components[np.arange(k), np.abs(components).argmax(axis=1)])[:, None]
    rows = torch.from_numpy(np.concatenate([components, -components])).to(torch.float32)
    advance(options.steps)
    config = _config("pca", first, options, 2 * k, scale, unit, 0.0)
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
        AnalysisError: as `check_rows`; the models' rows are all equal.
    """
    check_rows(first, second, options.layer, n_latents=len(CLASSES), k=1)
    scale, unit = common_scale(first, second), _difference_scale(first, second, options)
    here = torch.nn.functional.one_hot(classes, len(CLASSES)).double()  # (n, 3)
    total = here.T @ scaled_difference((first, second), 1.0).double()
    shift = (total / here.sum(dim=0).clamp_min(1)[:, None]).to(torch.float32)
    rows = torch.nn.functional.normalize(shift, dim=1)
    center = pooled_mean(first, second, scale)
    sign = polarity(rows, center, scale, (first, second), lambda _rows, at: here[at] > 0)
    advance(options.steps)
    config = _config("mean_diff", first, options, len(CLASSES), scale, unit, 0.0)
    return MeanDiff(config, rows * sign[:, None], center, shift)


def polarity(
    directions: torch.Tensor,
    center: torch.Tensor,
    scale: float,
    pair: tuple[torch.Tensor, torch.Tensor],
    is_open: Callable[[tuple[torch.Tensor, torch.Tensor], slice], torch.Tensor],
) -> torch.Tensor:
    """(m,) +1 or -1: the sign of both models' summed projections at a latent's open rows.

    second - first projects to more than zero there, so this sign gives the direction to the model whose mean
    projection is larger in size: (p2 - p1)(p2 + p1) > 0 is |p2| > |p1|.
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
        raise AnalysisError(f"Both models' activations of layer {options.layer} are equal: nothing to learn.")
    return float((total / first.numel()) ** 0.5)


def _config(
    kind: str,
    first: torch.Tensor,
    options: FitOptions,
    n_latents: int,
    scale: float,
    unit: float,
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
        input_scales=(unit, unit),
        threshold=threshold,
        n_rows=len(first),
    )
