"""What the answers say differently: predicates over answers, chosen on D, confirmed on C; runs no model."""

from __future__ import annotations

from analyze.behaviors.choose import Candidate, choose_behaviors
from analyze.behaviors.confirm import Behavior, confirm_behaviors, smallest_testable
from analyze.behaviors.replies import Replies, replies_of

__all__ = [
    "Behavior",
    "Candidate",
    "Replies",
    "choose_behaviors",
    "confirm_behaviors",
    "replies_of",
    "smallest_testable",
]
