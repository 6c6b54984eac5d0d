"""Intervals and tests over clusters of prompts: bootstrap, permutation tests, contrasts, corrections, shares."""

from __future__ import annotations

from analyze.stats.bootstrap import (
    Interval,
    bca_limits,
    cluster_counts,
    log_ratio_interval,
    mean_interval,
    ratio_interval,
)
from analyze.stats.shares import paired_interval, paired_p, share_interval
from analyze.stats.significance import (
    category_contrasts,
    cluster_means,
    holm,
    mcnemar,
)

__all__ = [
    "Interval",
    "bca_limits",
    "category_contrasts",
    "cluster_counts",
    "cluster_means",
    "holm",
    "log_ratio_interval",
    "mcnemar",
    "mean_interval",
    "paired_interval",
    "paired_p",
    "ratio_interval",
    "share_interval",
]
