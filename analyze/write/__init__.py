"""Table rows from what an analysis concluded, and the one transaction that writes them. Knows no model."""

from __future__ import annotations

from analyze.write.results import Conclusions, write_outside_similarity, write_plan, write_results

__all__ = [
    "Conclusions",
    "write_outside_similarity",
    "write_plan",
    "write_results",
]
