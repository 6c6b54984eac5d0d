"""One dictionary's features in each model: activity, theta, attribution, quality, scaling; knows no groups."""

from __future__ import annotations

from analyze.features.categories import categories_of
from analyze.features.effects import (
    GapSlopes,
    LayerEffects,
    layers_with_scaling,
    measure_effects,
    other_side,
    with_scaling,
)
from analyze.features.latent_scaling import PARTS, Weighed, scaled_ratio

__all__ = [
    "PARTS",
    "GapSlopes",
    "LayerEffects",
    "Weighed",
    "categories_of",
    "layers_with_scaling",
    "measure_effects",
    "other_side",
    "scaled_ratio",
    "with_scaling",
]
