"""Change classes: added, removed, strengthened, weakened, redirected, shared, undetermined (METHOD section 5).

Every rule is symmetric: swapping base and target mirrors the class. "Added" needs more than a ratio: a ridge regression
on the base's own residuals must not be able to predict the feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np

from analyze.extraction import BoolArray, Extraction, FloatArray
from analyze.features import LayerEffects, Weighed, scaled_ratio
from analyze.groups.join import Group, main_side
from analyze.groups.readability import Residuals, readability
from analyze.groups.redirected import is_redirected
from analyze.stats import log_ratio_interval
from fi_store.method import METHOD


@dataclass(frozen=True)
class Change:
    """A change class with its evidence."""

    name: str
    log2_ratio: float
    low: float
    high: float  # 90% interval over clusters
    # How well each model's residuals predict where the group fires; measured only if it may be one model's alone.
    auc_base: float | None = None
    auc_target: float | None = None


def unit_activity(group: Group, layers: Sequence[LayerEffects], reader: str) -> FloatArray:
    """(n,) weighted activity of the group's main side for each unit, in multiples of S."""
    total = np.zeros(len(layers[0].means[reader, group.position_class]))
    for member in main_side(group):
        effects = layers[member.layer_index]
        means = effects.means[reader, group.position_class][:, member.latent]
        total += member.weight * means / effects.scale[member.latent]
    return total


def ratio_epsilon(group: Group, layers: Sequence[LayerEffects], confirmation: BoolArray) -> float:
    """1% of the median of (A_base + A_target) / 2 over alive features, weighted like the group's main side."""
    total = 0.0
    for member in main_side(group):
        effects = layers[member.layer_index]
        both = [
            effects.means[reader, group.position_class][confirmation].mean(axis=0) / effects.scale
            for reader in ("base", "target")
        ]
        total += member.weight * float(np.median((both[0] + both[1])[effects.alive] / 2))
    return METHOD.ratio_epsilon * total + 1e-9


def classify(
    group: Group,
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    residuals: Residuals,
) -> Change:
    """The change class of a group on C."""
    ratio, low, high = activity_ratio(group, layers, extraction)
    if is_redirected(group, layers, extraction, residuals):
        return Change("redirected", ratio, low, high)
    name = ratio_class(low, high)
    if _may_be_alone(group, layers, low, high):
        auc_base, auc_target = readability(group, layers, extraction, residuals)
        own, other = (auc_target, auc_base) if low > 0 else (auc_base, auc_target)
        absent = other is not None and other < METHOD.readable_auc
        present = own is not None and own >= METHOD.readable_auc
        if absent and present:
            name = "added" if low > 0 else "removed"
        return Change(name, ratio, low, high, auc_base, auc_target)
    return Change(name, ratio, low, high)


def _may_be_alone(group: Group, layers: Sequence[LayerEffects], low: float, high: float) -> bool:
    """Whether the group may be one model's alone: by latent scaling if measured, otherwise by a ratio of at least five.

    nu of the error requires the same ratio (0.2), but ignores what only fires together with the latent in a similar
    direction, which lambda includes. nu of the reconstruction guards against a twin in the other model. Such latents
    must have more than half of the main side's weight, and the ratio must point the same way.
    """
    if ratio_class(low, high) not in ("strengthened", "weakened"):
        return False
    members = main_side(group)
    if layers[members[0].layer_index].scaling is None:
        edge = log2(METHOD.ratio_added)
        return low >= edge or high <= -edge
    reader = "target" if low > 0 else "base"
    alone = sum(m.weight for m in members if _is_specific(layers[m.layer_index], m.latent, reader))
    return alone > sum(m.weight for m in members) / 2


def _is_specific(effects: LayerEffects, latent: int, reader: str) -> bool:
    """Whether latent scaling assigns a latent to this model alone."""
    scaling = effects.scaling
    assert scaling is not None
    return bool(scaling.sums.own[latent] == effects.side(reader)) and scaling.specific(latent)


def activity_ratio(
    group: Group, layers: Sequence[LayerEffects], extraction: Extraction
) -> tuple[float, float, float]:
    """lambda = log2(target / base) on C with its 90% interval over clusters (METHOD section 5).

    It compares the main side's beta_act in the group's position class if latent scaling was measured, and its activity
    otherwise.
    """
    if layers[group.members[0].layer_index].scaling is not None:
        return _scaled_ratio(group, layers)
    chosen = ~extraction.units.discovery
    interval = log_ratio_interval(
        unit_activity(group, layers, "target")[chosen],
        unit_activity(group, layers, "base")[chosen],
        ratio_epsilon(group, layers, chosen),
        extraction.units.clusters[chosen],
    )
    return float(interval.estimate), float(interval.low), float(interval.high)


def _scaled_ratio(group: Group, layers: Sequence[LayerEffects]) -> tuple[float, float, float]:
    weighed = []
    for index in {member.layer_index: None for member in main_side(group)}:
        effects = layers[index]
        members = [member for member in main_side(group) if member.layer_index == index]
        assert effects.scaling is not None
        weighed.append(
            Weighed(
                effects.scaling.by_class[group.position_class],
                np.asarray([member.latent for member in members]),
                np.asarray([member.weight for member in members]),
                effects.dictionary.config.input_scales,
            )
        )
    ratio, low, high = scaled_ratio(weighed, level=0.90, seed=0)
    return (ratio, low, high) if layers[0].anchor == "base" else (-ratio, -high, -low)


def ratio_class(low: float, high: float) -> str:
    """The change class that an interval of log2 ratios gives on its own."""
    edge = log2(METHOD.ratio_shared)
    if low >= edge:
        return "strengthened"
    if high <= -edge:
        return "weakened"
    if -edge <= low and high <= edge:
        return "shared"
    return "undetermined"
