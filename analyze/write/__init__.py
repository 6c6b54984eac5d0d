"""analyze.write.results."""

from __future__ import annotations

from analyze.write.results import Conclusions, write_outside_similarity, write_plan, write_results

__all__ = [
    "Conclusions",
    "write_outside_similarity",
    "write_plan",
    "write_results",
]
