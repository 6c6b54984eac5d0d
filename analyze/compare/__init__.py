"""analyze.compare."""

from __future__ import annotations

from analyze.compare.match import compare_runs

__all__ = [
    "compare_runs",
]
