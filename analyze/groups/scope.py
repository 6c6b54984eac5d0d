"""On which prompts a group is tested: all of them, or the categories where D says that it is strongest.

What few kinds of prompts have is small in the mean over all. A group whose effect lies in some categories is tested
there, against what shams reach in the category where they reach most (`LayerEffects.scoped`). Categories count that are
strata of the test (`strata_of`) in both halves; a run whose categories are smaller tests every group over all prompts.
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
    """The scope of each group, from D alone: among all prompts and the leading large categories, in the order of the
    mean score, that with the largest statistic against its floor.

    A category leads where its own mean exceeds that floor, so that no scope names one that lacks the change. Of C only
    the number of its clusters is asked: a scope holds as many as a test needs (`METHOD.min_nonzero_clusters`).
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
        own = cluster_means(score, extraction.units.clusters[discovery])[:, 0]
        best = stratified_t(own - group_floor(group, layers), strata)
        scope: Scope = ()
        within = group_floor(group, layers, scoped=True)
        mean = {name: float(own[labels == name].mean()) for name in large}
        leading = sorted((name for name in large if mean[name] > within), key=lambda name: -mean[name])
        for count in range(1, len(leading) + 1):
            inside = np.isin(labels, leading[:count])
            if inside.all():
                break
            fewest = min((own[inside] != 0).sum(), np.isin(held_out, leading[:count]).sum())
            if fewest < METHOD.min_nonzero_clusters:  # too rare there to be tested
                continue
            t = stratified_t(own[inside] - within, strata[inside])
            if t > best:
                best, scope = t, tuple(sorted(leading[:count]))
        found.append(scope)
    return found
