"""Chooses on the discovery half what the two models' answers do differently: the behaviors that go on to the test.

Content words, forms and languages compete for what separates the answers best (`log_odds`), among those that chance
does not explain. A word that leads is joined by the words that share its sentences. The next leader is scored on the
prompts that no earlier behavior tells apart. What is about the whole answer (its length, that it is cut off) says least
and comes last. Concepts only name what was found: as candidates, broad ones (auxiliary verbs) would hide the words that
a reader notices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from analyze.behaviors.own_answers import OwnAnswers
from analyze.behaviors.predicates import FORMS, AnswerPredicate, language_of, words_of
from analyze.behaviors.score import discordant, log_odds, one_sided_p, one_sided_ps, smallest_testable
from analyze.behaviors.words import (
    LISTED_WORDS,
    as_written,
    is_content,
    is_function_word,
    shared_sequence,
    with_companions,
)
from analyze.extraction import BoolArray, FloatArray
from fi_store.method import METHOD
from fi_store.prompts import Concept
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True)
class Candidate:
    """A behavior as the discovery half shows it."""

    predicate: AnswerPredicate
    side: Side  # whose answers have it more often
    words: tuple[str, ...]  # its own words, then others that set these answers apart, ten at most
    phrase: str  # a word sequence as the answers write it, or what a form is called
    concept: Concept | None  # the concept of the bank that covers the same answers
    z: float  # on the clusters that no earlier behavior tells apart
    p_value: float  # one-sided, unadjusted, on the same clusters
    base: float  # rates over all clusters of D
    target: float
    ahead: int  # clusters of D where the gaining model's answers have it more
    behind: int


def choose_behaviors(answers: OwnAnswers, concepts: Sequence[Concept], alpha: float) -> list[Candidate]:
    """The behaviors of one half in the order in which they were found, at most `METHOD.max_behaviors`."""
    search = _Search(answers, concepts, alpha)
    found: list[Candidate] = []
    while len(found) < METHOD.max_behaviors and (best := search.next()) is not None:
        found.append(best)
    for predicate in search.whole_answers():
        if len(found) < METHOD.max_behaviors and (candidate := search.candidate(predicate)) is not None:
            found.append(candidate)
    return found


class _Search:
    """The state of a search: which clusters no behavior tells apart yet, and what was found."""

    def __init__(self, answers: OwnAnswers, concepts: Sequence[Concept], alpha: float) -> None:
        self.answers = answers
        self.concepts = concepts
        self.alpha = alpha
        self.open: BoolArray = np.ones(answers.n_clusters, dtype=bool)
        self.taken: set[AnswerPredicate] = set()
        self.fixed = self._fixed()

    def _fixed(self) -> list[AnswerPredicate]:
        """The predicates that need no words of these answers; of equal scores the first leads."""
        asked = Counter(language_of(answer.prompt) for answer in self.answers)
        # Where the models write different languages throughout, the one that the prompts are not in says more.
        languages = sorted(
            {language_of(answer.text) for answer in self.answers} - {"", "zxx"},
            key=lambda name: (asked[name], name),
        )
        return [
            AnswerPredicate("empty"),
            *(AnswerPredicate("form", (name,)) for name in FORMS),
            *(AnswerPredicate("language", (name,)) for name in languages),
            AnswerPredicate("repetition"),
        ]

    def whole_answers(self) -> list[AnswerPredicate]:
        """What can be asked about an answer as a whole; asked on all prompts."""
        self.open = np.ones_like(self.open)
        usual = int(np.median([len(answer.words) for answer in self.answers]))
        return [
            AnswerPredicate("thinking"),
            AnswerPredicate("length", least=usual),
            AnswerPredicate("unfinished"),
        ]

    @cached_property
    def words(self) -> tuple[list[str], dict[Side, FloatArray]]:
        """The content words, and for each model (k, words) the share of a cluster's answers that hold each."""
        return self._words(is_content)

    def _words(self, listed: Callable[[str], bool]) -> tuple[list[str], dict[Side, FloatArray]]:
        """The words for which `listed` holds, as in `words`.

        Words in fewer answers than the test needs at the least are left out.
        """
        texts = [answer.text for answer in self.answers]
        vectors = CountVectorizer(analyzer=words_of, binary=True, min_df=smallest_testable(1, self.alpha))
        try:
            counts = vectors.fit_transform(texts)
        except ValueError:  # no word is in enough answers
            return [], {side: np.zeros((self.answers.n_clusters, 0)) for side in SIDES}
        names = [str(name) for name in vectors.get_feature_names_out()]
        kept = [at for at, name in enumerate(names) if listed(name)]
        n = len(texts) // 2
        dense = np.asarray(counts[:, kept].toarray(), dtype=np.float64)
        parts = {"base": dense[:n], "target": dense[n:]}
        return [names[at] for at in kept], {side: self.answers.by_cluster(parts[side]) for side in SIDES}

    @cached_property
    def function_words(self) -> tuple[list[str], dict[Side, FloatArray]]:
        """The same for function words."""
        return self._words(is_function_word)

    def next(self) -> Candidate | None:
        """The best candidate on the open clusters; None if chance could explain all that is left."""
        while self.open.any():
            leaders = [*self._fixed_leaders(), *self._word_leader()]
            if not leaders:
                return None
            _, best = max(leaders, key=lambda item: item[0])
            predicate = self._grown(best) if best.kind == "words" else best
            found = self.candidate(predicate) or self.candidate(best)
            self.taken |= {best, predicate}
            if found is not None:
                base, target = self.answers.shares(found.predicate)
                self.open &= ~(target > base if found.side == "target" else base > target)
                return found
        return None

    def _fixed_leaders(self) -> list[tuple[float, AnswerPredicate]]:
        """(score, predicate) of the fixed predicates that separate the open clusters beyond chance."""
        found = []
        for predicate in self.fixed:
            base, target = (shares[self.open] for shares in self.answers.shares(predicate))
            up, down = discordant(base, target)
            if predicate not in self.taken and one_sided_p(max(up, down), min(up, down)) <= self.alpha:
                found.append((abs(self._score(*self.answers.shares(predicate))), predicate))
        return found

    def _word_leader(self) -> list[tuple[float, AnswerPredicate]]:
        """(score, predicate) of the best word that separates the open clusters beyond chance, if there is one."""
        names, shares = self.words
        base, target = shares["base"][self.open], shares["target"][self.open]
        up, down = (target > base).sum(axis=0), (base > target).sum(axis=0)
        beyond = one_sided_ps(np.maximum(up, down), np.minimum(up, down)) <= self.alpha
        scores = np.abs(log_odds(base, target))
        order = [at for at in np.argsort(-scores, kind="stable") if beyond[at]]
        free = (at for at in order if AnswerPredicate("words", (names[at],)) not in self.taken)
        return [(float(scores[at]), AnswerPredicate("words", (names[at],))) for at in list(free)[:1]]

    def candidate(self, predicate: AnswerPredicate) -> Candidate | None:
        """The candidate of a predicate; None if it was found before, if chance could explain the open clusters, or if
        all clusters say the opposite."""
        base, target = self.answers.shares(predicate)
        z = self._score(base, target)
        side: Side = "target" if z > 0 else "base"
        p = one_sided_p(*self._ahead(base[self.open], target[self.open], side))
        ahead, behind = self._ahead(base, target, side)
        if predicate in self.taken or p > self.alpha or ahead <= behind:
            return None
        more = (
            []
            if predicate.kind in ("empty", "thinking", "length", "unfinished")
            else self._setting_apart(side)
        )
        words = tuple(dict.fromkeys([*predicate.words, *more]))[:LISTED_WORDS]
        return Candidate(
            predicate=predicate,
            side=side,
            words=words,
            phrase=self._phrase(predicate, side),
            concept=self._covering(predicate, words),
            z=z,
            p_value=p,
            base=float(base.mean()),
            target=float(target.mean()),
            ahead=ahead,
            behind=behind,
        )

    @staticmethod
    def _ahead(base: FloatArray, target: FloatArray, side: Side) -> tuple[int, int]:
        """Clusters where the side has it more, and where it has it less."""
        up, down = discordant(base, target)
        return (up, down) if side == "target" else (down, up)

    def _score(self, base: FloatArray, target: FloatArray) -> float:
        return float(log_odds(base[self.open, None], target[self.open, None])[0])

    def _setting_apart(self, side: Side) -> list[str]:
        """The words that set the model's answers apart beyond chance on the open clusters: content words, best first,
        then function words, which never lead but may be what a reader recognizes."""
        found: list[str] = []
        for names, shares in (self.words, self.function_words):
            base, target = shares["base"][self.open], shares["target"][self.open]
            scores = log_odds(base, target) * (1 if side == "target" else -1)
            found += [
                names[at]
                for at in np.argsort(-scores, kind="stable")[:LISTED_WORDS]
                if one_sided_p(*self._ahead(base[:, at], target[:, at], side)) <= self.alpha
            ]
        return found

    def _texts(self, side: Side) -> list[str]:
        """A model's answers on the open clusters."""
        inside = self.open[self.answers.clusters]
        return [answer.text for answer, kept in zip(self.answers.answers[side], inside, strict=True) if kept]

    def _grown(self, leader: AnswerPredicate) -> AnswerPredicate:
        """The leader with the words that share its sentences, as whichever predicate separates the answers best."""
        z = self._score(*self.answers.shares(leader))
        side: Side = "target" if z > 0 else "base"
        texts = self._texts(side)
        words = with_companions(leader.value[0], texts)
        options = [AnswerPredicate("words", words), AnswerPredicate("words", words, least=2)][: len(words)]
        if sequence := shared_sequence(texts, set(words)):
            options.append(AnswerPredicate("sequence", sequence))
        sign = 1 if side == "target" else -1
        return max(options, key=lambda option: sign * self._score(*self.answers.shares(option)))

    def _phrase(self, predicate: AnswerPredicate, side: Side) -> str:
        if predicate.kind == "sequence":
            return as_written(self._texts(side), predicate.value)
        if predicate.kind == "words":
            texts = self._texts(side)
            return as_written(texts, shared_sequence(texts, set(predicate.value)) or predicate.value[:1])
        return predicate.phrase

    def _covering(self, predicate: AnswerPredicate, words: Sequence[str]) -> Concept | None:
        """The concept with two of the words that holds for the most similar set of answers.

        Similar: a Jaccard index of at least 1/2 with the predicate, over both models' answers. It must have one of the
        predicate's own words.
        """
        own = np.concatenate([self.answers.holds(predicate, side) for side in SIDES])
        best, best_share = None, 0.0
        for concept in self.concepts:
            vocabulary = {word.casefold() for word in concept.words}
            if len(vocabulary & set(words)) < 2 or vocabulary.isdisjoint(predicate.words):
                continue
            theirs = np.asarray([concept.holds(answer.text) for answer in self.answers])
            share = float((own & theirs).sum()) / max(1, int((own | theirs).sum()))
            if share >= 0.5 and share > best_share:
                best, best_share = concept, share
        return best
