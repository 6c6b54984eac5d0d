"""Names from the concept bank: the concept that a group's words point to, and the bank's predicates made executable.

A concept must pass twice: its words are among those that the group pushes on D, and its predicate holds for more of the
answers to C of the model that has the feature (METHOD section 6).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analyze.extraction import BoolArray, Extraction
from analyze.names.predicates import Contexts, Predicate
from analyze.names.words import is_content
from analyze.stats import mcnemar
from fi_store.method import METHOD
from fi_store.prompts import Concept, Form, load_concepts

STEM = 4
"""Fewest letters that two forms of one word share."""
ENDING = 3
"""Most letters that an ending adds."""
SINGLE_WORD_SHARE = 0.2
"""Share of the pushed content words' weight at which a single one is enough for a concept."""
CONCEPT_WORDS = 30
"""How many of the strongest pushed words are matched with concepts."""
TRIED = 12
"""How many concepts are tried on the answers to D, the best first."""


@dataclass(frozen=True)
class MatchedConcept:
    """A concept with the pushed words that point to it, and how often the models' own answers to C show it."""

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
        """The concepts' predicates, as far as they can be executed."""
        return [found for found in map(concept_predicate, self.concepts) if found is not None]

    @cached_property
    def _words(self) -> list[frozenset[str]]:
        """Each concept's words, including those of its pattern."""
        return [
            frozenset(word.casefold() for word in (*concept.words, *_literals(concept.predicate)))
            for concept in self.concepts
        ]

    @cached_property
    def _n_concepts(self) -> Counter[str]:
        """Word -> number of concepts that have it."""
        return Counter(word for words in self._words for word in words)

    def candidates(self, pushed: Sequence[tuple[str, float]]) -> list[tuple[float, Concept, tuple[str, ...]]]:
        """Concepts that the pushed words (word, share) may point to: score, concept and those words, best first.

        A word counts by its share divided by the number of concepts that have it. A concept needs two words, or one
        content word with a fifth of the weight of all content words.
        """
        total = sum(share for word, share in pushed if is_content(word))
        found = []
        for concept, concept_words in zip(self.concepts, self._words, strict=True):
            score, one_is_enough, words = 0.0, False, []
            for word, share in pushed:
                forms = [form for form in concept_words if _same_word(word.casefold(), form)]
                if forms:
                    score += share / min(self._n_concepts[form] for form in forms)
                    one_is_enough = one_is_enough or (is_content(word) and share >= SINGLE_WORD_SHARE * total)
                    words.append(word)
            if one_is_enough or len(words) > 1:
                found.append((score, concept, tuple(words)))
        return sorted(found, key=lambda item: -item[0])

    def match(
        self,
        pushed: Sequence[tuple[str, float]],
        extraction: Extraction,
        answers: dict[str, list[str]],
        direction: int,
    ) -> MatchedConcept | None:
        """The concept that the words pushed on D point to, if the answers show it too; None otherwise.

        Of the candidates, the one with the largest product of its score and the rise of its predicate's rate in the
        answers to D is tested once on C, with McNemar's test. Content words are tried first. Function words, which are
        about how rather than what, are added only if no concept of the content words rises on D.
        """
        content = [(word, share) for word, share in pushed if is_content(word)]
        for words in (content, pushed):
            best = self._best_on_d(words, answers, extraction.units.discovery, direction)
            if best is not None:
                return _confirmed(*best, answers, ~extraction.units.discovery, direction)
        return None

    def _best_on_d(
        self,
        pushed: Sequence[tuple[str, float]],
        answers: dict[str, list[str]],
        discovery: BoolArray,
        direction: int,
    ) -> tuple[Concept, tuple[str, ...]] | None:
        """The candidate concept with the largest score times rise on D, with its words."""
        best, found = 0.0, None
        for score, concept, words in self.candidates(pushed)[:TRIED]:
            base, target = _answers_with(concept, answers, discovery)
            rise = direction * float(target.mean() - base.mean())
            if score * rise > best:
                best, found = score * rise, (concept, words)
        return found


def _answers_with(
    concept: Concept, answers: dict[str, list[str]], half: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """Which of the base's and the target's answers to one half show a concept."""
    base, target = (
        np.asarray([concept.holds(answers[side][i]) for i in np.flatnonzero(half)])
        for side in ("base", "target")
    )
    return base, target


def _confirmed(
    concept: Concept, words: tuple[str, ...], answers: dict[str, list[str]], half: BoolArray, direction: int
) -> MatchedConcept | None:
    """The concept with its rates on one half; None unless they differ in the direction beyond chance."""
    base, target = _answers_with(concept, answers, half)
    matched = MatchedConcept(concept, words, float(base.mean()), float(target.mean()), mcnemar(base, target))
    rises = direction * (matched.rate_target - matched.rate_base) > 0
    return matched if rises and matched.p_value <= METHOD.alpha else None


def _literals(form: Form | None) -> set[str]:
    """The plain words of a predicate's patterns."""
    if form is None:
        return set()
    plain = re.sub(r"\\.|\[[^\]]*\]|\{[^}]*\}", " ", form.value) if form.kind == "regex" else ""
    return set(re.findall(r"[^\W\d_]{3,}", plain)).union(*map(_literals, form.parts))


def _same_word(word: str, other: str) -> bool:
    """Whether two words are equal, or two forms of one word: one is the other plus a short ending."""
    short, long = sorted((word, other), key=len)
    return word == other or (
        len(short) >= STEM and len(long) - len(short) <= ENDING and long.startswith(short)
    )


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
