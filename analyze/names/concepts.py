"""The concept bank's predicates, made executable on the rows of an extraction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyze.extraction import BoolArray
from analyze.names.predicates import Contexts, Predicate
from fi_store.prompts import Concept, Form


def concept_predicates(concepts: Sequence[Concept]) -> list[Predicate]:
    """The concepts' predicates, as far as they can be executed."""
    return [found for found in map(concept_predicate, concepts) if found is not None]


@dataclass(frozen=True)
class ConceptPredicate(Predicate):
    """A predicate with the concept's phrase as its name; a `line` holds its own pattern. Needs `ConceptContexts`."""

    concept_phrase: str = ""

    @property
    def phrase(self) -> str:
        """'in hedged statements'; or, for a predicate of the token alone, 'on words of French text'."""
        return self.concept_phrase


class ConceptContexts(Contexts):
    """Contexts that also execute the predicates of concepts."""

    def _evaluate(self, predicate: Predicate) -> BoolArray:
        if predicate.kind == "line" and isinstance(predicate, ConceptPredicate):
            pattern = re.compile(predicate.value[0], re.IGNORECASE)
            return np.asarray([pattern.search(line) is not None for line in self._lines])
        return super()._evaluate(predicate)


def concept_predicate(concept: Concept) -> ConceptPredicate | None:
    """The concept's predicate for `ConceptContexts`, or None if it has none."""
    if concept.predicate is None:
        return None
    phrase = f"{'on words of' if concept.predicate.kind == 'words' else 'in'} {concept.phrase}"
    return _built(concept.predicate, concept.words, phrase)


def _built(form: Form, words: tuple[str, ...], phrase: str) -> ConceptPredicate:
    if form.kind == "words":
        return ConceptPredicate("token", tuple(word.casefold() for word in words), concept_phrase=phrase)
    if form.kind == "regex":
        return ConceptPredicate("line", (form.value,), concept_phrase=phrase)
    if form.kind == "place":
        return ConceptPredicate("place", (form.value,), concept_phrase=phrase)
    parts = tuple(_built(part, words, phrase) for part in form.parts)
    return ConceptPredicate(form.kind, parts=parts, concept_phrase=phrase)
