"""Learns a dictionary of any kind from paired rows."""

from __future__ import annotations

from collections.abc import Callable

import torch

from analyze.fit.crosscoder import fit_crosscoder
from analyze.fit.difference import fit_diff_sae, fit_mean_diff, fit_pca
from analyze.fit.paired_sae import fit_paired_sae
from analyze.fit.training import FitOptions
from fi_store.config import DictionaryKind
from fi_store.dictionaries import Dictionary


def fit_dictionary(
    kind: DictionaryKind,
    rows: tuple[torch.Tensor, torch.Tensor],
    classes: torch.Tensor,
    options: FitOptions,
    advance: Callable[[int], None] = lambda _n: None,
) -> Dictionary:
    """Fits on paired rows (n, d_first), (n, d_second) in canonical order, with their position classes (n,).

    `advance` receives the steps as they are done, `options.steps` in all.

    Raises:
        AnalysisError: nothing can be learned from the rows, or the widths differ and the kind is no crosscoder.
    """
    if kind == "mean_diff":
        return fit_mean_diff(*rows, options, advance, classes=classes)
    fits: dict[str, Callable[..., Dictionary]] = {
        "paired_sae": fit_paired_sae,
        "crosscoder": fit_crosscoder,
        "diff_sae": fit_diff_sae,
        "pca": fit_pca,
    }
    return fits[kind](*rows, options, advance)
