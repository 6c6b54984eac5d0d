"""analyze.write.results."""

from __future__ import annotations

from analyze.write.keys import dictionary_folder
from analyze.write.results import Conclusions, write_outside_similarity, write_plan, write_results

__all__ = [
    "Conclusions",
    "dictionary_folder",
    "write_outside_similarity",
    "write_plan",
    "write_results",
]
