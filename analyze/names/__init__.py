"""analyze.names.when."""

from __future__ import annotations

from analyze.names.behavior import Behavior, check_behavior
from analyze.names.concepts import HEARD, Bank, ConceptContexts, Told
from analyze.names.predicates import Contexts
from analyze.names.sentence import layers_phrase, make_name, of_categories, p_phrase, percent, quoted
from analyze.names.what import LISTED, change_at_tokens, pushed_words, spoken_direction
from analyze.names.when import Candidate, name_group
from analyze.names.words import Words, find_words

__all__ = [
    "HEARD",
    "LISTED",
    "Bank",
    "Behavior",
    "Candidate",
    "ConceptContexts",
    "Contexts",
    "Told",
    "Words",
    "change_at_tokens",
    "check_behavior",
    "find_words",
    "layers_phrase",
    "make_name",
    "name_group",
    "of_categories",
    "p_phrase",
    "percent",
    "pushed_words",
    "quoted",
    "spoken_direction",
]
