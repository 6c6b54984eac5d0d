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

from analyze.extraction import BoolArray, Extraction
from analyze.names.predicates import Contexts, Predicate
from analyze.names.words import is_content
from analyze.stats import mcnemar
from fi_store.method import METHOD
from fi_store.prompts import Concept, Form, load_concepts

STEM = 4
"""Letters that two forms of one word share at least."""
ENDING = 3
"""Letters that an ending adds at most."""
ALONE = 0.2
"""Share of what the pushed content words carry from which a single one can speak for a concept."""
HEARD = 30
"""Pushed words that may speak for a concept, the strongest."""
TRIED = 12
"""Concepts that are tried on the answers to D, the best first."""


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
    def _words(self) -> list[frozenset[str]]:
        """Each concept's words, those of its pattern included."""
        return [
            frozenset(word.casefold() for word in (*concept.words, *_literals(concept.predicate)))
            for concept in self.concepts
        ]

    @cached_property
    def _in_concepts(self) -> Counter[str]:
        return Counter(word for words in self._words for word in words)

    def spoken_of(self, pushed: Sequence[tuple[str, float]]) -> list[tuple[float, Concept, tuple[str, ...]]]:
        """Concepts that the pushed words (word, share) may speak of: score, concept and those words, best first.

        A word counts by its share over the number of concepts that have it. It takes two words, or one content word
        with a fifth of what all content words carry.
        """
        total = sum(share for word, share in pushed if is_content(word))
        found = []
        for concept, own in zip(self.concepts, self._words, strict=True):
            score, alone, words = 0.0, False, []
            for word, share in pushed:
                forms = [form for form in own if _same(word.casefold(), form)]
                if forms:
                    score += share / min(self._in_concepts[form] for form in forms)
                    alone = alone or (is_content(word) and share >= ALONE * total)
                    words.append(word)
            if alone or len(words) > 1:
                found.append((score, concept, tuple(words)))
        return sorted(found, key=lambda item: -item[0])

    def tell(
        self,
        pushed: Sequence[tuple[str, float]],
        extraction: Extraction,
        answers: dict[str, list[str]],
        direction: int,
    ) -> Told | None:
        """The concept that the words pushed on D speak of, if the answers show it too; None otherwise.

        Of the concepts that the words may speak of, the one whose score times the rise of its predicate's rate in
        the answers to D is largest; it is then counted once on C, by McNemar's test. Content words are asked first;
        function words, which say how rather than what, only where no concept of those rises on D.
        """
        content = [(word, share) for word, share in pushed if is_content(word)]
        for heard in (content, pushed):
            best = self._most_shown(heard, answers, extraction.units.discovery, direction)
            if best is not None:
                return _confirmed(*best, answers, ~extraction.units.discovery, direction)
        return None

    def _most_shown(
        self,
        pushed: Sequence[tuple[str, float]],
        answers: dict[str, list[str]],
        discovery: BoolArray,
        direction: int,
    ) -> tuple[Concept, tuple[str, ...]] | None:
        """The concept of the pushed words with the largest score times rise on D, with those words."""
        best, found = 0.0, None
        for score, concept, words in self.spoken_of(pushed)[:TRIED]:
            base, target = _shown(concept, answers, discovery)
            rise = direction * float(target.mean() - base.mean())
            if score * rise > best:
                best, found = score * rise, (concept, words)
        return found


def _shown(concept: Concept, answers: dict[str, list[str]], half: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Which of the base's and the target's answers to one half show a concept."""
    base, target = (
        np.asarray([_holds(concept.predicate, concept, answers[who][i]) for i in np.flatnonzero(half)])
        for who in ("base", "target")
    )
    return base, target


def _confirmed(
    concept: Concept, words: tuple[str, ...], answers: dict[str, list[str]], half: BoolArray, direction: int
) -> Told | None:
    """The concept with its rates on the other half, where they differ in the direction beyond chance."""
    base, target = _shown(concept, answers, half)
    told = Told(concept, words, float(base.mean()), float(target.mean()), mcnemar(base, target))
    rises = direction * (told.rate_target - told.rate_base) > 0
    return told if rises and told.p_value <= METHOD.alpha else None


def _literals(form: Form | None) -> set[str]:
    """The plain words of a predicate's patterns."""
    if form is None:
        return set()
    plain = re.sub(r"\\.|\[[^\]]*\]|\{[^}]*\}", " ", form.value) if form.kind == "regex" else ""
    return set(re.findall(r"[^\W\d_]{3,}", plain)).union(*map(_literals, form.parts))


def _same(word: str, own: str) -> bool:
    """Equal, or two forms of one word: a common beginning with a short ending."""
    short, long = sorted((word, own), key=len)
    return word == own or (len(short) >= STEM and len(long) - len(short) <= ENDING and long.startswith(short))


def _holds(form: Form | None, concept: Concept, text: str) -> bool:
    """Whether an answer shows a concept: by its predicate, or by one of its words where it has none."""
    if form is not None and form.parts:
        parts = [_holds(part, concept, text) for part in form.parts]
        return all(parts) if form.kind == "and" else any(parts)
    if form is not None and form.kind == "regex":
        pattern = re.compile(form.value, re.IGNORECASE)
        return any(pattern.search(line) for line in _ends(text))
    if form is not None and form.kind == "place":
        return True
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
