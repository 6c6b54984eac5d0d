"""Which category a cluster of prompts counts as: halves are drawn by it, and the test on C takes it as a stratum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def cluster_categories(categories: Iterable[str], clusters: Iterable[int]) -> dict[int, str]:
    """Cluster -> its most frequent category, the first of those on a tie; one entry a prompt in both arguments."""
    held: dict[int, Counter[str]] = {}
    for category, cluster in zip(categories, clusters, strict=True):
        held.setdefault(cluster, Counter())[category] += 1
    return {cluster: counts.most_common(1)[0][0] for cluster, counts in held.items()}
