"""Both models' own answers to some prompts, and how often a predicate holds for them, cluster by cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from analyze.behaviors.predicates import AnswerPredicate, OwnAnswer, TooSlowError
from analyze.extraction import BoolArray, FloatArray, IntArray, Units
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True)
class OwnAnswers:
    """The answers to n prompts in k clusters."""

    answers: dict[Side, list[OwnAnswer]]
    clusters: IntArray  # (n,) cluster of each prompt, 0..k-1
    categories: np.ndarray  # (n,) str
    # Patterns that took too long on an answer, and what was searched before.
    skipped: list[str] = field(default_factory=list, compare=False)
    _held: dict[tuple[AnswerPredicate, Side], BoolArray] = field(default_factory=dict, compare=False)

    @property
    def n_clusters(self) -> int:
        return int(self.clusters.max()) + 1 if len(self.clusters) else 0

    def holds(self, predicate: AnswerPredicate, side: Side) -> BoolArray:
        """(n,) whether the predicate holds for each answer; an answer that is too slow to search does not have it."""
        if (predicate, side) not in self._held:
            held = [self._holds(predicate, answer) for answer in self.answers[side]]
            self._held[predicate, side] = np.asarray(held, dtype=bool)
        return self._held[predicate, side]

    def _holds(self, predicate: AnswerPredicate, answer: OwnAnswer) -> bool:
        try:
            return predicate.holds(answer)
        except TooSlowError as error:
            self.skipped.append(str(error))
            return False

    def by_cluster(self, values: np.ndarray) -> FloatArray:
        """(k, ...) means over the prompts of each cluster of values (n, ...)."""
        counts = np.bincount(self.clusters, minlength=self.n_clusters)
        sums = np.zeros((self.n_clusters, *values.shape[1:]))
        np.add.at(sums, self.clusters, values)
        return np.asarray(sums / counts.reshape(-1, *[1] * (values.ndim - 1)))

    def shares(self, predicate: AnswerPredicate) -> tuple[FloatArray, FloatArray]:
        """(k,) share of each cluster's answers for which the predicate holds: base, target."""
        base, target = (self.by_cluster(self.holds(predicate, side).astype(np.float64)) for side in SIDES)
        return base, target

    def spans(self, predicate: AnswerPredicate, side: Side, at: int) -> list[tuple[int, int]]:
        """The characters of what a model wrote, thinking included, on which the predicate rests.

        There are none if it is too slow to search.
        """
        answer = self.answers[side][at]
        try:
            return [(first + answer.start, last + answer.start) for first, last in predicate.spans(answer)]
        except TooSlowError as error:
            self.skipped.append(str(error))
            return []

    def within(self, chosen: BoolArray) -> OwnAnswers:
        """The answers to the chosen prompts (n,)."""
        index = np.flatnonzero(chosen)
        answers = {side: [self.answers[side][at] for at in index] for side in SIDES}
        _, clusters = np.unique(self.clusters[index], return_inverse=True)
        return OwnAnswers(answers, np.asarray(clusters, dtype=np.int64), self.categories[index], self.skipped)

    def __iter__(self) -> Iterator[OwnAnswer]:
        for side in SIDES:
            yield from self.answers[side]


def answers_of(units: Units) -> OwnAnswers:
    """All answers of a run."""
    answers: dict[Side, list[OwnAnswer]] = {
        side: [
            OwnAnswer(text, prompt, bool(finished), int(start))
            for text, prompt, finished, start in zip(
                units.answers[side],
                units.questions,
                units.finished[side],
                units.answer_starts[side],
                strict=True,
            )
        ]
        for side in SIDES
    }
    _, clusters = np.unique(units.clusters, return_inverse=True)
    return OwnAnswers(answers, np.asarray(clusters, dtype=np.int64), units.categories)
