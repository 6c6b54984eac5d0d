"""The features that carry the difference on D, joined into groups that act as one (METHOD section 4).

A feature is a candidate if the interval of its attribution excludes 0 and it holds a small share of the gap, or of the
gap on the prompts of one behavior. Candidates of one layer and position class join if their attribution falls on the
same tokens, or if they point the same way; average linkage. Opposite signs may share a group. The cosines are
deliberately not centered: at a position that changes in every answer a correlation would measure only noise
(bench/LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from analyze.extraction import CLASSES, BoolArray, Extraction, FloatArray, IntArray
from analyze.features import LayerEffects
from analyze.groups.group import Group, Member
from analyze.stats import cluster_means
from fi_store.ids import content_id
from fi_store.method import METHOD

MAX_CANDIDATES = 256
"""How many features of a layer and position class are considered for grouping, strongest first."""


class GapOn(NamedTuple):
    """Some units (n,) of D, and their mean gap in nats: all of them, or those where one answer has a behavior."""

    units: BoolArray
    gap: float


def make_groups(
    run_id: str, layers: Sequence[LayerEffects], extraction: Extraction, gaps: Sequence[GapOn]
) -> list[Group]:
    """All groups of all layers and position classes, the largest share of a gap first.

    `gaps`: that of all units of D, then those of behaviors. Without gradients a feature counts by how far it moves the
    activations on average, as a share of the sum over all features.
    """
    groups: list[Group] = []
    for index, effects in enumerate(layers):
        for position_class in range(len(CLASSES)):
            groups += _groups_of(run_id, effects, index, position_class, extraction, gaps)
    if any(group.effects.attribution is None for group in groups):
        whole = sum(group.attributed for group in groups)
        shares = [replace(group, share=group.attributed / whole) for group in groups]
        groups = [group for group in shares if group.share >= METHOD.candidate_share]
    return sorted(groups, key=lambda group: (-group.share, group.id))


def _groups_of(
    run_id: str,
    effects: LayerEffects,
    index: int,
    position_class: int,
    extraction: Extraction,
    gaps: Sequence[GapOn],
) -> list[Group]:
    """The groups of one layer and position class."""
    strength = feature_strength(effects, position_class, extraction, gaps)
    chosen = np.argsort(-strength.share, kind="stable")[:MAX_CANDIDATES]
    chosen = chosen[strength.share[chosen] > 0]
    if len(chosen) == 0:
        return []
    labels = cluster(_closeness(effects, position_class, extraction, chosen))
    theta = effects.theta(position_class)[extraction.units.discovery].mean(axis=0)
    groups = []
    for label in np.unique(labels):
        inside = chosen[labels == label]  # strongest first, since `chosen` is sorted
        share = strength.share[inside]
        members = tuple(
            Member(int(latent), float(part / share.sum()), 1 if theta[latent] >= 0 else -1)
            for latent, part in zip(inside, share, strict=True)
        )
        groups.append(
            Group(
                id=_group_id(run_id, effects, position_class, members),
                effects=effects,
                index=index,
                position_class=position_class,
                members=members,
                attributed=float(strength.nats[inside].sum()),
                share=float(share.sum()),
                gap=int(np.bincount(strength.gap[inside], weights=share).argmax()),
            )
        )
    return groups


def join_rest(run_id: str, groups: Sequence[Group], first: int) -> list[Group]:
    """The `first` groups, and the others joined by layer, position class and the gap of which they hold most.

    A behavior of many tokens is carried by many small groups; one by one they would never be patched.
    """
    rest: dict[tuple[int, int, int], list[Group]] = {}
    for group in groups[first:]:
        rest.setdefault((group.index, group.position_class, group.gap), []).append(group)
    joined = []
    for parts in rest.values():
        nats = sum(part.attributed for part in parts)
        whole = sum(part.share for part in parts)
        members = [
            Member(member.latent, member.weight * part.share / whole, member.sign)
            for part in parts
            for member in part.members
        ]
        joined.append(
            replace(
                parts[0],
                id=_group_id(run_id, parts[0].effects, parts[0].position_class, members),
                members=tuple(sorted(members, key=lambda member: -member.weight)),
                attributed=nats,
                share=whole,
                rest=True,
            )
        )
    return [*groups[:first], *sorted(joined, key=lambda group: (-group.share, group.id))]


def _group_id(run_id: str, effects: LayerEffects, position_class: int, members: Sequence[Member]) -> str:
    latents = sorted(member.latent for member in members)
    return content_id("group", run_id, effects.site, effects.layer, CLASSES[position_class], latents)


class Strength(NamedTuple):
    """By latent (m,): mean attribution on D in nats, the largest share of a gap (0 for what is no candidate), and the
    index of that gap."""

    nats: FloatArray
    share: FloatArray
    gap: IntArray


def feature_strength(
    effects: LayerEffects, position_class: int, extraction: Extraction, gaps: Sequence[GapOn]
) -> Strength:
    """How much of a gap each latent carries in a position class on D; without gradients, how far it moves."""
    clusters, discovery = extraction.units.clusters, extraction.units.discovery
    if effects.attribution is None:
        theta = effects.theta(position_class)[discovery]
        moved = _surely_above(np.sign(theta.mean(axis=0)) * theta, clusters[discovery])
        length = np.abs(theta.mean(axis=0)) * effects.scale * effects.directions.norm(dim=1).numpy()
        size = np.where(moved & effects.alive, length, 0.0)
        return Strength(size, size, np.zeros(len(size), dtype=np.int64))
    values = effects.attribution.of_units[position_class][:]
    nats = values[discovery].mean(axis=0)
    shares = np.zeros((max(1, len(gaps)), len(nats)))  # without a gap nothing holds a share
    for number, (units, gap) in enumerate(gaps):
        inside = values[units]
        part = inside.mean(axis=0) / gap
        sure = _surely_above(inside, clusters[units]) & (part >= METHOD.candidate_share) & effects.alive
        shares[number] = np.where(sure, part, 0.0)
    return Strength(nats, shares.max(axis=0), shares.argmax(axis=0))


def _surely_above(values: FloatArray, clusters: IntArray) -> BoolArray:
    """(m,) whether the 95% interval of the mean over clusters is above 0 (Student's t); values (n, m)."""
    means = cluster_means(values, clusters)
    n = len(means)
    if n < 2:
        return np.zeros(values.shape[1], dtype=bool)
    half = stats.t.ppf(0.975, n - 1) * means.std(axis=0, ddof=1) / np.sqrt(n)
    return np.asarray(means.mean(axis=0) > half)


def _closeness(
    effects: LayerEffects, position_class: int, extraction: Extraction, latents: IntArray
) -> FloatArray:
    """(c, c) closeness in multiples of the joining threshold: at 1 two features join, more is closer."""
    rows = extraction.rows
    chosen = np.flatnonzero(rows.discovery & rows.own & (rows.position_class == position_class))
    attribution = effects.attribution
    at_tokens = effects.moved(latents) if attribution is None else attribution.at_rows[:, latents]
    decoders = effects.dictionary.w_dec[torch.from_numpy(latents)].numpy().astype(np.float64)
    same_tokens = np.abs(cosines(at_tokens.tocsr()[chosen].astype(np.float64))) / METHOD.group_token_cosine
    same_direction = np.abs(decoders @ decoders.T) / METHOD.group_decoder_cosine
    return np.asarray(np.maximum(same_tokens, same_direction))


def cosines(columns: Any) -> FloatArray:
    """Cosines between the columns of an array or a sparse array; 0 for a column of zeros."""
    norm = np.sqrt(np.asarray((columns * columns).sum(axis=0)))
    directions = columns / np.where(norm > 1e-12, norm, np.inf)
    products = directions.T @ directions
    return np.asarray(products if isinstance(products, np.ndarray) else products.toarray())


def cluster(closeness: FloatArray) -> IntArray:
    """(n,) labels of average-linkage clusters whose mean closeness is at least 1."""
    if len(closeness) == 1:
        return np.zeros(1, dtype=np.int64)
    farthest = 2.0  # cosines over thresholds of at least one half are never larger
    distance = np.clip(farthest - (closeness + closeness.T) / 2, 0, farthest)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average")
    return np.asarray(fcluster(tree, t=farthest - 1.0, criterion="distance"), dtype=np.int64)
