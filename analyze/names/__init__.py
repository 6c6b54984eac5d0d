"""A finding in words: its name and sentence, the predicates that tell when it fires, the words that it pushes."""

from __future__ import annotations

from analyze.names.concepts import ConceptContexts, concept_predicates
from analyze.names.predicates import Contexts, Predicate
from analyze.names.proposed import NameTest, ProposedName, score_proposals
from analyze.names.sentence import (
    Claim,
    behavior_sentence,
    behavior_title,
    number,
    percent,
)
from analyze.names.what import LISTED, pushed_words
from analyze.names.when import NameCandidate, name_group
from analyze.names.words import Words, find_words

__all__ = [
    "LISTED",
    "Claim",
    "ConceptContexts",
    "Contexts",
    "NameCandidate",
    "NameTest",
    "Predicate",
    "ProposedName",
    "Words",
    "behavior_sentence",
    "behavior_title",
    "concept_predicates",
    "find_words",
    "name_group",
    "number",
    "percent",
    "pushed_words",
    "score_proposals",
]
