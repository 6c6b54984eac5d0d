"""fi_store.graders."""

from __future__ import annotations

from fi_store.graders.check import faults
from fi_store.graders.grading import KINDS, grade

__all__ = [
    "KINDS",
    "faults",
    "grade",
]
