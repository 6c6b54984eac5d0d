"""On which prompts a group is tested: all of them, or the categories where it is strongest on D.

A change that few kinds of prompts have is small in the mean over all prompts. So a group whose effect is confined to
some categories is tested there, against the largest effect of shams within one category (`LayerEffects.scoped`). Only
categories that are strata of the test (`strata_of`) in both halves count; without any, all prompts are used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyze.extraction import Extraction
from analyze.features import LayerEffects, categories_of, large_categories
from analyze.groups.join import Group, group_floor, group_scores
from analyze.stats import cluster_means, strata_of, stratified_t
from fi_store.method import METHOD

Scope = tuple[str, ...]
"""Categories in alphabetical order; empty: all prompts."""


def choose_scopes(
    groups: Sequence[Group], layers: Sequence[LayerEffects], extraction: Extraction
) -> list[Scope]:
    """The scope of each group, from D alone.

    Of all prompts, the leading large category, the leading two and so on (by mean score), it is the set with the
    largest statistic against its floor. A category leads if its own mean exceeds that floor, so no scope names a
    category without the change. C contributes only its number of clusters: a scope holds as many as a test needs
    (`METHOD.min_nonzero_clusters`).
    """
    large = large_categories(extraction)
    if not large:
        return [()] * len(groups)
    discovery = extraction.units.discovery
    labels, held_out = (categories_of(extraction, half) for half in (discovery, ~discovery))
    strata = strata_of(labels)
    found: list[Scope] = []
    for group in groups:
        score = group_scores(group, layers)[discovery, None] * group.direction
        means = cluster_means(score, extraction.units.clusters[discovery])[:, 0]
        best = stratified_t(means - group_floor(group, layers), strata)
        scope: Scope = ()
        within = group_floor(group, layers, scoped=True)
        by_category = {name: float(means[labels == name].mean()) for name in large}
        leading = sorted(
            (name for name in large if by_category[name] > within), key=lambda name: -by_category[name]
        )
        for count in range(1, len(leading) + 1):
            inside = np.isin(labels, leading[:count])
            if inside.all():
                break
            fewest = min((means[inside] != 0).sum(), np.isin(held_out, leading[:count]).sum())
            if fewest < METHOD.min_nonzero_clusters:  # too rare there to be tested
                continue
            t = stratified_t(means[inside] - within, strata[inside])
            if t > best:
                best, scope = t, tuple(sorted(leading[:count]))
        found.append(scope)
    return found
