"""Features that act as one: how they are joined, their scores, change classes and recurrence; writes nothing."""

from __future__ import annotations

from analyze.groups.classes import Change, classify, ratio_class
from analyze.groups.join import (
    Group,
    attributed_effect,
    group_floor,
    group_scores,
    make_groups,
    token_activity,
    with_companions,
)
from analyze.groups.readability import Residuals
from analyze.groups.recurrence import recurrences
from analyze.groups.scope import Scope, choose_scopes

__all__ = [
    "Change",
    "Group",
    "Residuals",
    "Scope",
    "attributed_effect",
    "choose_scopes",
    "classify",
    "group_floor",
    "group_scores",
    "make_groups",
    "ratio_class",
    "recurrences",
    "token_activity",
    "with_companions",
]
