"""What the answers say differently: predicates over answers, chosen on D, confirmed on C; runs no model."""

from __future__ import annotations

from analyze.behaviors.choose import Candidate, choose_behaviors
from analyze.behaviors.confirm import Behavior, confirm_behaviors
from analyze.behaviors.own_answers import OwnAnswers, answers_of
from analyze.behaviors.predicates import AnswerPredicate, OwnAnswer
from analyze.behaviors.score import smallest_testable
from analyze.behaviors.separate import Separation, likeness, separation

__all__ = [
    "AnswerPredicate",
    "Behavior",
    "Candidate",
    "OwnAnswer",
    "OwnAnswers",
    "Separation",
    "answers_of",
    "choose_behaviors",
    "confirm_behaviors",
    "likeness",
    "separation",
    "smallest_testable",
]
