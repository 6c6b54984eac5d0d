"""Change classes: added, removed, strengthened, weakened, redirected, shared, undetermined (METHOD section 6).

Every rule is symmetric: swapping base and target mirrors the class. "Added" needs more than a ratio: a ridge regression
on the base's own residuals must not be able to predict the feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import numpy as np

from analyze.extraction import BoolArray, Extraction, FloatArray
from analyze.features import Weighed, scaled_ratio
from analyze.groups.group import Group
from analyze.groups.readability import Residuals, readability
from analyze.groups.redirected import is_redirected
from analyze.stats import log_ratio_interval
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True)
class ChangeInside:
    """A change class by the features' activity, with its evidence."""

    name: str
    log2_ratio: float
    low: float
    high: float  # 90% interval over clusters
    # How well each model's residuals predict where the group fires; measured only if it may be one model's alone.
    auc_base: float | None = None
    auc_target: float | None = None


def unit_activity(group: Group, reader: Side) -> FloatArray:
    """(n,) weighted activity of the group's main side for each unit, in multiples of S."""
    effects, members = group.effects, group.main_side
    latents = [member.latent for member in members]
    means = effects.means[reader, group.position_class][:][:, latents] / effects.scale[latents]
    return np.asarray(means @ np.asarray([member.weight for member in members]), dtype=np.float64)


def ratio_epsilon(group: Group, confirmation: BoolArray) -> float:
    """1% of the median of (A_base + A_target) / 2 over alive features, weighted like the group's main side."""
    effects = group.effects
    both = [
        effects.means[side, group.position_class][:][confirmation].mean(axis=0) / effects.scale
        for side in SIDES
    ]
    middle = float(np.median((both[0] + both[1])[effects.alive] / 2))
    return METHOD.ratio_epsilon * middle * sum(member.weight for member in group.main_side) + 1e-9


def classify(group: Group, extraction: Extraction, residuals: Residuals) -> ChangeInside:
    """The change class of a group on C."""
    ratio, low, high = activity_ratio(group, extraction)
    if is_redirected(group, extraction, residuals):
        return ChangeInside("redirected", ratio, low, high)
    name = ratio_class(low, high)
    if _may_be_alone(group, low, high):
        auc_base, auc_target = readability(group, extraction, residuals)
        own, other = (auc_target, auc_base) if low > 0 else (auc_base, auc_target)
        absent = other is not None and other < METHOD.readable_auc
        present = own is not None and own >= METHOD.readable_auc
        if absent and present:
            name = "added" if low > 0 else "removed"
        return ChangeInside(name, ratio, low, high, auc_base, auc_target)
    return ChangeInside(name, ratio, low, high)


def _may_be_alone(group: Group, low: float, high: float) -> bool:
    """Whether the group may be one model's alone: by latent scaling if measured, otherwise by a ratio of at least five.

    nu of the error requires the same ratio (0.2), but ignores what only fires together with the latent in a similar
    direction, which lambda includes. nu of the reconstruction guards against a twin in the other model. Such latents
    must have more than half of the main side's weight, and the ratio must point the same way.
    """
    if ratio_class(low, high) not in ("strengthened", "weakened"):
        return False
    scaling = group.effects.scaling
    if scaling is None:
        edge = log2(METHOD.ratio_added)
        return low >= edge or high <= -edge
    owner = group.effects.side("target" if low > 0 else "base")
    alone = sum(
        member.weight
        for member in group.main_side
        if scaling.sums.own[member.latent] == owner and scaling.specific(member.latent)
    )
    return alone > sum(member.weight for member in group.main_side) / 2


def activity_ratio(group: Group, extraction: Extraction) -> tuple[float, float, float]:
    """lambda = log2(target / base) on C with its 90% interval over clusters.

    It compares the main side's beta_act in the group's position class if latent scaling was measured, and its activity
    otherwise.
    """
    if group.effects.scaling is not None:
        return _scaled_ratio(group)
    chosen = ~extraction.units.discovery
    interval = log_ratio_interval(
        unit_activity(group, "target")[chosen],
        unit_activity(group, "base")[chosen],
        ratio_epsilon(group, chosen),
        extraction.units.clusters[chosen],
    )
    return float(interval.estimate), float(interval.low), float(interval.high)


def _scaled_ratio(group: Group) -> tuple[float, float, float]:
    effects = group.effects
    assert effects.scaling is not None
    weighed = Weighed(
        effects.scaling.by_class[group.position_class],
        np.asarray([member.latent for member in group.main_side]),
        np.asarray([member.weight for member in group.main_side]),
        effects.dictionary.config.input_scales,
    )
    ratio, low, high = scaled_ratio([weighed], level=0.90, seed=0)
    return (ratio, low, high) if effects.anchor == "base" else (-ratio, -high, -low)


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
