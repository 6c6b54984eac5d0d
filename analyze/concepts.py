"""Names from the concept bank: which concept a group's words speak of, and its predicates made executable.

A concept that is told must hold twice: its words carry what the group pushes on D, and its predicate occurs more often
in the answers of the model that has the feature on C (METHOD section 6).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analyze.predicates import Contexts, Predicate
from analyze.rows import BoolArray, Extraction
from analyze.significance import mcnemar
from fi_store.concepts import Concept, Form, load_concepts
from fi_store.config import METHOD

STEM = 4
"""Letters that two forms of one word share at least."""
ENDING = 3
"""Letters that an ending adds at most."""
ALONE = 0.5
"""Share of what a group pushes from which a single word can speak for a concept ..."""
ALONE_IN = 3
"""... if at most this many concepts have it."""
TRIED = 5
"""Concepts that are tried on D, the best first."""


@dataclass(frozen=True)
class Told:
    """A concept with the pushed words that speak of it, and how often the models' own answers to C show it."""

    concept: Concept
    words: tuple[str, ...]  # strongest first
    rate_base: float
    rate_target: float
    p_value: float


class Bank:
    """The shipped concepts, searched by word."""

    def __init__(self) -> None:
        self.concepts = load_concepts()

    @cached_property
    def predicates(self) -> list[Predicate]:
        """Every concept's predicate that can be executed."""
        return [found for found in map(concept_predicate, self.concepts) if found is not None]

    @cached_property
    def _in_concepts(self) -> Counter[str]:
        return Counter(word.casefold() for concept in self.concepts for word in concept.words)

    def spoken_of(self, pushed: Sequence[tuple[str, float]]) -> list[tuple[Concept, tuple[str, ...]]]:
        """Concepts that the pushed words (word, share) speak of, best first, with those words.

        A word counts by its share over the number of concepts that have it. It takes two words, or one that carries
        half of what is pushed and belongs to few concepts.
        """
        found = []
        for concept in self.concepts:
            score, words = 0.0, []
            for word, share in pushed:
                forms = [own for own in map(str.casefold, concept.words) if _same(word.casefold(), own)]
                if forms:
                    common = min(self._in_concepts[own] for own in forms)
                    score += share / common
                    words.append((word, share, common))
            alone = any(share >= ALONE and common <= ALONE_IN for _, share, common in words)
            if len(words) > 1 or alone:
                found.append((score, concept, tuple(word for word, _, _ in words)))
        found.sort(key=lambda item: -item[0])
        return [(concept, words) for _, concept, words in found]

    def tell(
        self,
        pushed: Sequence[tuple[str, float]],
        extraction: Extraction,
        answers: dict[str, list[str]],
        direction: int,
    ) -> Told | None:
        """The concept that the words pushed on D speak of, if the answers to C show it too; None otherwise.

        The first of the best few whose predicate the gaining model's answers to D hold more often is counted once
        on C, by McNemar's test.
        """
        discovery = extraction.units.discovery
        for concept, words in self.spoken_of(pushed)[:TRIED]:
            base, target = (
                np.asarray([_holds(concept, text) for text in answers[who]]) for who in ("base", "target")
            )
            if direction * (target[discovery].mean() - base[discovery].mean()) <= 0:
                continue
            base, target = base[~discovery], target[~discovery]
            p = mcnemar(base, target)
            rises = direction * (target.mean() - base.mean()) > 0
            told = Told(concept, words, float(base.mean()), float(target.mean()), p)
            return told if rises and p <= METHOD.alpha else None
        return None


def _same(word: str, own: str) -> bool:
    """Equal, or two forms of one word: a common beginning with a short ending."""
    short, long = sorted((word, own), key=len)
    return word == own or (len(short) >= STEM and len(long) - len(short) <= ENDING and long.startswith(short))


def _holds(concept: Concept, text: str) -> bool:
    """Whether an answer shows a concept: its pattern in some line, or else one of its words."""
    form = concept.predicate
    if form is not None and form.kind == "regex":
        pattern = re.compile(form.value, re.IGNORECASE)
        return any(pattern.search(line) for line in _ends(text))
    words = "|".join(re.escape(word) for word in concept.words)
    return re.search(rf"(?<!\w)(?:{words})(?!\w)", text, re.IGNORECASE) is not None


def _ends(text: str) -> list[str]:
    """Every beginning of every line that ends with a word: what a predicate sees while the text is read."""
    return [
        line[max(0, match.end() - 200) : match.end()]
        for line in text.splitlines()
        for match in re.finditer(r"\S+", line)
    ]


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
