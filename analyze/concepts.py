"""Makes the predicates of the concept bank executable, beside those of the grammar (METHOD section 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from analyze.predicates import Contexts, Predicate
from analyze.rows import BoolArray
from fi_store.concepts import Concept, Form


@dataclass(frozen=True)
class ConceptPredicate(Predicate):
    """A predicate with the concept's phrase as its name; a `line` holds its own pattern. Needs `ConceptContexts`."""

    said: str = ""

    @property
    def phrase(self) -> str:
        """'in hedged statements'; a predicate of the token alone says so: 'on words of French text'."""
        return self.said


class ConceptContexts(Contexts):
    """Contexts that execute the predicates of concepts as well as all others."""

    def _evaluate(self, predicate: Predicate) -> BoolArray:
        if predicate.kind == "line" and isinstance(predicate, ConceptPredicate):
            pattern = re.compile(predicate.value[0], re.IGNORECASE)
            return np.asarray([pattern.search(line) is not None for line in self._lines])
        return super()._evaluate(predicate)


def concept_predicate(concept: Concept) -> ConceptPredicate | None:
    """The concept's predicate for `ConceptContexts`, or None where words do not carry the concept."""
    if concept.predicate is None:
        return None
    said = f"{'on words of' if concept.predicate.kind == 'words' else 'in'} {concept.phrase}"
    return _built(concept.predicate, concept.words, said)


def _built(form: Form, words: tuple[str, ...], said: str) -> ConceptPredicate:
    if form.kind == "words":
        return ConceptPredicate("token", tuple(word.casefold() for word in words), said=said)
    if form.kind == "regex":
        return ConceptPredicate("line", (form.value,), said=said)
    if form.kind == "place":
        return ConceptPredicate("place", (form.value,), said=said)
    return ConceptPredicate(
        form.kind, parts=tuple(_built(part, words, said) for part in form.parts), said=said
    )
