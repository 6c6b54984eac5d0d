"""Whether a group's features moved at all on C, whatever that does to the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analyze.extraction import Extraction
from analyze.groups.group import Group
from analyze.stats import cluster_means, holm, mean_interval


@dataclass(frozen=True, eq=False)
class Moved:
    """A group's mean theta on C with its 95% interval over clusters, and Student's t test of it (two-sided, Holm)."""

    group: Group
    theta: float
    low: float
    high: float
    statistic: float | None  # None where it does not vary
    p_value: float | None
    p_adjusted: float | None
    n_units: int
    n_nonzero: int  # clusters in which it moved


def measure_movement(groups: Sequence[Group], extraction: Extraction, seed: int) -> list[Moved]:
    """How far each group moved on C."""
    chosen = ~extraction.units.discovery
    clusters = extraction.units.clusters[chosen]
    found, p_values = [], []
    for group in groups:
        means = cluster_means(group.scores()[chosen, None], clusters)[:, 0]
        interval = mean_interval(means, np.arange(len(means)), seed=seed)
        varies = len(means) > 1 and bool(np.ptp(means) > 0)
        test = stats.ttest_1samp(means, 0.0) if varies else None
        statistic = float(test.statistic) if test is not None else None
        p_values.append(float(test.pvalue) if test is not None else 1.0)
        found.append((group, interval, statistic, int((means != 0).sum())))
    adjusted = holm(np.asarray(p_values))
    return [
        Moved(
            group=group,
            theta=float(interval.estimate),
            low=float(interval.low),
            high=float(interval.high),
            statistic=statistic,
            p_value=p if statistic is not None else None,
            p_adjusted=float(p_adjusted) if statistic is not None else None,
            n_units=int(chosen.sum()),
            n_nonzero=n_nonzero,
        )
        for (group, interval, statistic, n_nonzero), p, p_adjusted in zip(
            found, p_values, adjusted, strict=True
        )
    ]
