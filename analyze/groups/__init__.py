"""Features that act as one: how they are joined, their scores, change classes and recurrence; writes nothing."""

from __future__ import annotations

from analyze.groups.classes import ChangeInside, classify, ratio_class
from analyze.groups.group import Group, Member
from analyze.groups.join import GapOn, cluster, cosines, join_rest, make_groups
from analyze.groups.moved import Moved, measure_movement
from analyze.groups.readability import Residuals
from analyze.groups.recurrence import recurrences

__all__ = [
    "ChangeInside",
    "GapOn",
    "Group",
    "Member",
    "Moved",
    "Residuals",
    "classify",
    "cluster",
    "cosines",
    "join_rest",
    "make_groups",
    "measure_movement",
    "ratio_class",
    "recurrences",
]
