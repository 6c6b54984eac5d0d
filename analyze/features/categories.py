"""The categories of a run's prompts as the test uses them: which are strata, and how large shams get within one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analyze.extraction import BoolArray, Extraction
from analyze.stats import category_of_stratum
from fi_store.prompts import cluster_categories


def categories_of(extraction: Extraction, half: BoolArray) -> npt.NDArray[np.str_]:
    """(clusters of a half,) the category of each, in the order of `cluster_means`. `half`: (n,) over units."""
    category = _of_clusters(extraction)
    return np.asarray([category[cluster] for cluster in np.unique(extraction.units.clusters[half]).tolist()])


def large_categories(extraction: Extraction) -> list[str]:
    """The categories that are strata in both halves."""
    discovery = extraction.units.discovery
    halves = [category_of_stratum(categories_of(extraction, half)) for half in (discovery, ~discovery)]
    return sorted(set(halves[0]) & set(halves[1]))


def largest_in_a_category(
    theta: npt.NDArray[np.float32], extraction: Extraction, large: Sequence[str]
) -> npt.NDArray[np.float32]:
    """(1, m) the largest |mean theta| of each latent over the large categories, on D. theta: (n, m)."""
    units, category = extraction.units, _of_clusters(extraction)
    counted = np.asarray([category[cluster] for cluster in units.clusters.tolist()])
    means = [theta[units.discovery & (counted == name)].mean(axis=0) for name in large]
    return np.asarray(np.abs(means).max(axis=0, keepdims=True), dtype=np.float32)


def _of_clusters(extraction: Extraction) -> dict[int, str]:
    return cluster_categories(extraction.units.categories.tolist(), extraction.units.clusters.tolist())
