"""Gate 1: the features that moved most on D, joined into groups that act as one.

Two features join if their differences happen at the same tokens (cosine of the token-level differences, within and
across layers), or if they share a layer and their decoders point the same way; average linkage. Opposite signs may
share a group, which then has a side that gains and a side that loses. The cosine is deliberately not centered: at a
position that changes in every answer the differences hardly vary, and a correlation would measure only noise
(bench/LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from analyze.extraction import CLASSES, PROMPT, BoolArray, Extraction, FloatArray, IntArray
from analyze.features import LayerEffects
from fi_store.method import METHOD

MAX_CANDIDATES = 256
"""How many features of a position class are considered for grouping, strongest first."""


@dataclass(frozen=True)
class Member:
    """A feature's part in a group."""

    layer_index: int  # into the list of LayerEffects
    latent: int
    weight: float  # > 0, share of the group's attributed effect; the weights of a group sum to 1
    sign: int  # +1: stronger in the target on D, -1: weaker


@dataclass(frozen=True)
class Group:
    """Features that act as one, in one position class."""

    position_class: int
    members: tuple[Member, ...]  # strongest first
    attributed: (
        float  # sum of (|mean theta| - candidate floor) S over members on D, in units of the layers' scales
    )
    direction: int
    """+1 if named by what the target gains, -1 by what it loses: the heavier side, or `names.naming_direction`."""
    companions: tuple[Group, ...] = ()
    """Groups elsewhere in the answers that move on the same prompts; they are reported and tested with this one."""

    @property
    def layer_indices(self) -> list[int]:
        return sorted({m.layer_index for m in self.members})


def attributed_effect(effects: LayerEffects, position_class: int, discovery: BoolArray) -> FloatArray:
    """(m,) (|mean theta_j| - candidate floor) * S_j * ||d_j|| on D; 0 for dead features and under the floor.

    Decoder rows have length 1 and S_j is in units of the layer's scale, so layers are compared by the share of their
    typical norm that a feature moves. (Until the screen of METHOD section 7 exists: section 4, gate 1.)
    """
    mean = np.abs(effects.theta(position_class)[discovery].mean(axis=0))
    return np.where(
        effects.alive, np.maximum(mean - effects.candidate_floors[position_class], 0) * effects.scale, 0.0
    )


def make_groups(layers: Sequence[LayerEffects], extraction: Extraction) -> list[Group]:
    """All groups of all position classes, the largest attributed effect first; a leader holds its companions."""
    groups = []
    for position_class in range(len(CLASSES)):
        groups += _groups_of_class(layers, extraction, position_class)
    return _join_companions(sorted(groups, key=lambda group: -group.attributed), layers, extraction)


def with_companions(groups: Sequence[Group]) -> list[Group]:
    """The groups in their order, then all their companions."""
    return [*groups, *(companion for group in groups for companion in group.companions)]


def _join_companions(
    groups: list[Group], layers: Sequence[LayerEffects], extraction: Extraction
) -> list[Group]:
    """Joins groups of answers whose scores move on the same prompts to the same degree.

    If no prompt separates two groups, they are one change, observed in several position classes. The strongest group
    leads. Uncentered cosine of the scores on D, average linkage.
    """
    answers = [group for group in groups if group.position_class != PROMPT]
    if len(answers) < 2:
        return groups
    discovery = extraction.units.discovery
    scores = np.column_stack([group_scores(group, layers)[discovery] for group in answers])
    labels = _cluster(np.abs(_cosine(scores)) / METHOD.group_unit_cosine)
    joined = []
    for label in np.unique(labels):
        leader, *others = (group for group, its in zip(answers, labels, strict=True) if its == label)
        joined.append(replace(leader, companions=tuple(others)))
    joined += [group for group in groups if group.position_class == PROMPT]
    return sorted(joined, key=lambda group: -group.attributed)


def _groups_of_class(
    layers: Sequence[LayerEffects], extraction: Extraction, position_class: int
) -> list[Group]:
    discovery = extraction.units.discovery
    strength = [attributed_effect(effects, position_class, discovery) for effects in layers]
    layer_of = np.concatenate([np.full(len(values), index) for index, values in enumerate(strength)])
    latent_of = np.concatenate([np.arange(len(values)) for values in strength])
    value = np.concatenate(strength)
    chosen = np.argsort(-value, kind="stable")[:MAX_CANDIDATES]
    chosen = chosen[value[chosen] > 0]
    if len(chosen) == 0:
        return []
    layer, latent, value = layer_of[chosen], latent_of[chosen], value[chosen]
    labels = _cluster(_closeness(layers, extraction, position_class, layer, latent))
    theta = [effects.theta(position_class)[discovery].mean(axis=0) for effects in layers]
    groups = []
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)  # strongest first, since `chosen` is sorted
        total = float(value[inside].sum())
        members = tuple(
            Member(
                int(layer[i]),
                int(latent[i]),
                float(value[i] / total),
                1 if theta[layer[i]][latent[i]] >= 0 else -1,
            )
            for i in inside
        )
        heavier = 1 if sum(m.weight * m.sign for m in members) >= 0 else -1
        groups.append(Group(position_class, members, total, heavier))
    return groups


def _closeness(
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    position_class: int,
    layer: IntArray,
    latent: IntArray,
) -> FloatArray:
    """(c, c) closeness in multiples of the joining threshold: at 1 two features join, more is closer."""
    rows = extraction.rows
    chosen = np.flatnonzero(rows.discovery & rows.own & (rows.position_class == position_class))
    tokens = np.empty((len(chosen), len(layer)))
    for index, effects in enumerate(layers):
        here = np.flatnonzero(layer == index)
        tokens[:, here] = effects.difference(latent[here])[chosen]
    closeness = np.abs(_cosine(tokens)) / METHOD.group_token_cosine
    for index, effects in enumerate(layers):
        here = np.flatnonzero(layer == index)
        if len(here) == 0:
            continue
        decoders = effects.dictionary.w_dec[torch.from_numpy(latent[here])].numpy().astype(np.float64)
        within = decoders @ decoders.T / METHOD.group_decoder_cosine
        closeness[np.ix_(here, here)] = np.maximum(closeness[np.ix_(here, here)], within)
    return closeness


def _cosine(columns: FloatArray) -> FloatArray:
    """Cosines between columns; 0 for a column of zeros."""
    norm = np.sqrt(np.square(columns).sum(axis=0))
    directions = np.divide(columns, norm, out=np.zeros_like(columns), where=norm > 1e-12)
    return np.asarray(directions.T @ directions)


def _cluster(closeness: FloatArray) -> IntArray:
    """Average-linkage clusters whose mean closeness is at least 1."""
    if len(closeness) == 1:
        return np.zeros(1, dtype=np.int64)
    farthest = 2.0
    distance = np.clip(farthest - (closeness + closeness.T) / 2, 0, farthest)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average")
    return np.asarray(fcluster(tree, t=farthest - 1.0, criterion="distance"), dtype=np.int64)


def group_scores(group: Group, layers: Sequence[LayerEffects]) -> FloatArray:
    """(n,) weighted theta of the group for each unit: sum_j w_j sign_j direction theta_ij, with the group's sign.

    A feature that loses in a group that gains counts by how much it loses. Swapping the pair flips exactly the sign.
    """
    total = np.zeros(len(layers[0].theta(group.position_class)))
    for member in group.members:
        theta = layers[member.layer_index].theta(group.position_class)[:, member.latent]
        total += member.weight * member.sign * group.direction * theta
    return total


def group_floor(group: Group, layers: Sequence[LayerEffects], *, scoped: bool = False) -> float:
    """Weighted mean of the members' floors, which limit a sham's single features rather than its steadier group scores.

    `scoped`: the floor of an effect within some categories.
    """
    of_layer = [layer.scoped if scoped else layer.floors for layer in layers]
    return sum(m.weight * float(of_layer[m.layer_index][group.position_class]) for m in group.members)


def main_side(group: Group) -> list[Member]:
    """The members whose sign is the group's direction."""
    return [member for member in group.members if member.sign == group.direction]


def token_activity(group: Group, layers: Sequence[LayerEffects], reader: str, side: int) -> FloatArray:
    """(N,) weighted activity sum_j w_j f_j / S_j of one reader, over the members whose sign is `side`."""
    members = [member for member in group.members if member.sign == side]
    total = np.zeros(next(iter(layers[0].codes.values())).shape[0])
    for index in {member.layer_index for member in members}:
        here = [member for member in members if member.layer_index == index]
        activity = layers[index].activity(reader, np.asarray([member.latent for member in here]))
        total += activity @ np.asarray([member.weight for member in here])
    return total
