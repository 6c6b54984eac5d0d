"""Graders: read the stated answer out of a reply, compare it with the right one, and check a grader for faults.

Pure functions of text; nothing in a reply is evaluated or run.
"""

from __future__ import annotations

from fi_store.graders.check import faults
from fi_store.graders.grading import KINDS, grade

__all__ = [
    "KINDS",
    "faults",
    "grade",
]
