"""One dictionary's features in each model: activity, theta, floors, quality and latent scaling; knows no groups."""

from __future__ import annotations

from analyze.features.categories import categories_of, large_categories
from analyze.features.effects import (
    LayerEffects,
    beside,
    layers_with_scaling,
    measure_effects,
    sham_levels,
    with_scaling,
)
from analyze.features.latent_scaling import PARTS, Weighed, scaled_ratio

__all__ = [
    "PARTS",
    "LayerEffects",
    "Weighed",
    "beside",
    "categories_of",
    "large_categories",
    "layers_with_scaling",
    "measure_effects",
    "scaled_ratio",
    "sham_levels",
    "with_scaling",
]
