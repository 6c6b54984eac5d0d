"""The category of every cluster of prompts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analyze.extraction import BoolArray, Extraction
from fi_store.prompts import cluster_categories


def categories_of(extraction: Extraction, half: BoolArray) -> npt.NDArray[np.str_]:
    """(clusters of a half,) the category of each, in the order of `cluster_means`. `half`: (n,) over units."""
    category = _of_clusters(extraction)
    return np.asarray([category[cluster] for cluster in np.unique(extraction.units.clusters[half]).tolist()])


def _of_clusters(extraction: Extraction) -> dict[int, str]:
    return cluster_categories(extraction.units.categories.tolist(), extraction.units.clusters.tolist())
