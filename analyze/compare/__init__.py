"""Comparing two analyzed runs: which results are the same, drifted, new or gone. Reads the store, never a model."""

from __future__ import annotations

from analyze.compare.match import compare_runs

__all__ = [
    "compare_runs",
]
