"""A result in words: its name and sentence, the predicates that tell when it fires, the words that it pushes."""

from __future__ import annotations

from analyze.names.behavior import WordRates, check_behavior
from analyze.names.concepts import CONCEPT_WORDS, Bank, ConceptContexts, MatchedConcept
from analyze.names.predicates import Contexts
from analyze.names.sentence import Claim, behavior_sentence, behavior_title
from analyze.names.what import (
    LISTED,
    change_at_tokens,
    naming_direction,
    pushed_words,
    with_naming_directions,
)
from analyze.names.when import NameCandidate, name_group
from analyze.names.words import Words, find_words

__all__ = [
    "CONCEPT_WORDS",
    "LISTED",
    "Bank",
    "Claim",
    "ConceptContexts",
    "Contexts",
    "MatchedConcept",
    "NameCandidate",
    "WordRates",
    "Words",
    "behavior_sentence",
    "behavior_title",
    "change_at_tokens",
    "check_behavior",
    "find_words",
    "name_group",
    "naming_direction",
    "pushed_words",
    "with_naming_directions",
]
