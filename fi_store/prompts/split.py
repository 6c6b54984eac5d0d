"""The statistical units of a run: groups prompts into clusters and splits the clusters into two halves.

Nothing here depends on a model, so swapping base and target moves no prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fi_store.errors import UsageError
from fi_store.prompts.records import PromptRecord, PromptSuite
from fi_store.wording import count

SHINGLE_WORDS = 3
SAME_CLUSTER_JACCARD = 0.6
"""Prompts whose word shingles have at least this Jaccard similarity are one cluster (METHOD section 1)."""
COMMON_SHARE, COMMON_PROMPTS = 0.2, 3
"""A shingle in more than this share of the prompts, and in more prompts than this, is a common preamble or template and
says nothing about similarity. (In a small suite a fifth may be fewer prompts than a near copy has.)"""
HALVES = {"D": "discovery", "C": "confirmation"}
MIN_CLUSTERS = 2
"""Clusters that each half needs."""


class Unit(NamedTuple):
    """A prompt, its number `unit` in file order, its cluster, and its half (D discovery, C confirmation)."""

    prompt: PromptRecord
    unit: int
    cluster: int
    half: str


def assign_units(suite: PromptSuite, seed: int) -> list[Unit]:
    """Clusters the prompts and splits whole clusters into halves, stratified by category, reproducible by `seed`."""
    clusters = cluster_prompts(suite.prompts)
    halves = split_halves([prompt.category for prompt in suite.prompts], clusters, seed)
    return [
        Unit(prompt, number, clusters[number], halves[clusters[number]])
        for number, prompt in enumerate(suite.prompts)
    ]


def check_halves(units: Sequence[Unit]) -> None:
    """Raises UsageError if a half has fewer clusters than an analysis needs."""
    total = len({unit.cluster for unit in units})
    for half, name in HALVES.items():
        found = len({unit.cluster for unit in units if unit.half == half})
        if found < MIN_CLUSTERS:
            raise UsageError(
                f"The {name} half has {found} of {count(total, 'cluster')} of prompts, and each half needs "
                f"{MIN_CLUSTERS}. Prompts of one family or with nearly the same text are one cluster.",
                hint="use more prompts, or prompts that are less alike",
            )


def lone_categories(units: Sequence[Unit]) -> list[str]:
    """A sentence for each of several categories that only one half has, so that nothing in it can be confirmed."""
    halves: dict[str, set[str]] = {}
    for unit in units:
        halves.setdefault(unit.prompt.category, set()).add(unit.half)
    return [
        f"All prompts of category {category} are in the {HALVES[next(iter(found))]} half, so it is not compared."
        for category, found in halves.items()
        if len(found) == 1 and len(halves) > 1
    ]


def cluster_prompts(prompts: tuple[PromptRecord, ...]) -> list[int]:
    """A cluster number per prompt, from 0 in order of first appearance.

    Prompts of one family (within or across categories) share a cluster, and so do prompts whose texts are similar apart
    from what many prompts have in common.
    """
    parent = list(range(len(prompts)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[object, int] = {}  # the first prompt of each family, and with each set of shingles
    sets = [shingles(prompt.text) for prompt in prompts]
    for number, prompt in enumerate(prompts):
        for same in (prompt.family, sets[number]):
            parent[root(number)] = root(first.setdefault(same, number))
    for left, right in _similar(sets):
        parent[root(left)] = root(right)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(item), len(numbers)) for item in range(len(prompts))]


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """The sequences of three words in a text, in lowercase; a shorter text is one sequence."""
    words = text.lower().split()
    starts = range(max(1, len(words) - SHINGLE_WORDS + 1))
    return frozenset(tuple(words[start : start + SHINGLE_WORDS]) for start in starts)


def _similar(sets: list[frozenset[tuple[str, ...]]]) -> list[tuple[int, int]]:
    """Pairs of texts at or above the Jaccard threshold, common shingles left out; only texts that share another shingle
    are compared."""
    holders: dict[tuple[str, ...], list[int]] = {}
    for number, content in enumerate(sets):
        for shingle in content:
            holders.setdefault(shingle, []).append(number)
    most = max(COMMON_PROMPTS, COMMON_SHARE * len(sets))
    sizes: Counter[int] = Counter()
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in holders.values():
        if len(numbers) <= most:
            sizes.update(numbers)
            shared.update((left, right) for i, left in enumerate(numbers) for right in numbers[i + 1 :])
    return [
        (left, right)
        for (left, right), common in shared.items()
        if common / (sizes[left] + sizes[right] - common) >= SAME_CLUSTER_JACCARD
    ]


def split_halves(categories: list[str], clusters: list[int], seed: int) -> dict[int, str]:
    """The half of each cluster. A cluster belongs to its most frequent category.

    Within a category, clusters are shuffled and dealt to the half with fewer prompts of that category, then with fewer
    prompts overall, then to D; larger clusters are dealt first.
    """
    sizes = Counter(clusters)
    strata: dict[str, list[int]] = {}
    for cluster, category in cluster_categories(categories, clusters).items():
        strata.setdefault(category, []).append(cluster)
    generator = np.random.default_rng([seed, 1])
    halves: dict[int, str] = {}
    total = {"D": 0, "C": 0}
    for category in sorted(strata):
        in_category = {"D": 0, "C": 0}
        order = list(generator.permutation(strata[category]))
        order.sort(key=lambda cluster: -sizes[cluster])  # stable: clusters of one size stay shuffled
        for cluster in order:
            half = min(("D", "C"), key=lambda name: (in_category[name], total[name]))
            halves[int(cluster)] = half
            in_category[half] += sizes[cluster]
            total[half] += sizes[cluster]
    return halves


def cluster_categories(categories: Iterable[str], clusters: Iterable[int]) -> dict[int, str]:
    """Cluster -> its most frequent category, the first on a tie; both arguments have one entry per prompt."""
    found: dict[int, Counter[str]] = {}
    for category, cluster in zip(categories, clusters, strict=True):
        found.setdefault(cluster, Counter())[category] += 1
    return {cluster: counts.most_common(1)[0][0] for cluster, counts in found.items()}
