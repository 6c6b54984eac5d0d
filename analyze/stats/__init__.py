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
    EXPLORE_BINS,
    Confirmation,
    category_contrasts,
    category_of_stratum,
    cluster_means,
    confirm,
    explore,
    holm,
    mcnemar,
    pooled_fdr,
    strata_of,
    stratified_t,
    within_strata,
)

__all__ = [
    "EXPLORE_BINS",
    "Confirmation",
    "Interval",
    "bca_limits",
    "category_contrasts",
    "category_of_stratum",
    "cluster_counts",
    "cluster_means",
    "confirm",
    "explore",
    "holm",
    "log_ratio_interval",
    "mcnemar",
    "mean_interval",
    "paired_interval",
    "paired_p",
    "pooled_fdr",
    "ratio_interval",
    "share_interval",
    "strata_of",
    "stratified_t",
    "within_strata",
]
