"""Chooses on the discovery half what the two models' answers do differently: the behaviors that go on to the test.

Content words, forms and languages compete for what separates the answers best (`log_odds`). A word that leads is joined
by the words that share its sentences. The next leader is scored on the prompts that no earlier behavior tells apart.
What is about the whole answer (its length, that it is cut off) says least and comes last. Concepts only name what was
found: as candidates, broad ones (auxiliary verbs) would hide the words that a reader notices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import regex
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from analyze.behaviors.predicates import FORMS, WORD, Predicate, language_of, words_of
from analyze.behaviors.replies import Replies
from analyze.behaviors.score import discordant, log_odds, one_sided_p
from analyze.extraction import BoolArray, FloatArray
from fi_store.method import METHOD
from fi_store.prompts import Concept
from fi_store.vocabulary import SIDES, Side

_SENTENCE = regex.compile(r"(?<=[.!?])\s+|\n+")

LISTED_WORDS = 10
"""Words that describe a behavior at most."""
COMPANION = 0.5
"""Jaccard index of two words' sentences from which one joins the other."""
LONGEST = 8
"""Words of a sequence at most."""


@dataclass(frozen=True)
class Candidate:
    """A behavior as the discovery half shows it."""

    predicate: Predicate
    side: Side  # whose answers have it more often
    words: tuple[str, ...]  # its own words, then others that set these answers apart, ten at most
    phrase: str  # what a reader sees of it: a word sequence as it is written, or what a form is called
    concept: Concept | None  # the concept of the bank that covers the same answers
    z: float
    p_value: float  # one-sided, unadjusted, on the clusters that no earlier behavior tells apart
    base: float  # rates over all clusters of D
    target: float
    ahead: int  # clusters of D where only (or more of) the gaining model's answers have it
    behind: int


def choose_behaviors(replies: Replies, concepts: Sequence[Concept]) -> list[Candidate]:
    """The behaviors of one half in the order in which they were found, at most `METHOD.max_behaviors`."""
    search = _Search(replies, concepts)
    found: list[Candidate] = []
    while len(found) < METHOD.max_behaviors and (best := search.next()) is not None:
        found.append(best)
    for predicate in search.whole_answers():
        if len(found) < METHOD.max_behaviors and (candidate := search.candidate(predicate)) is not None:
            found.append(candidate)
    return found


class _Search:
    """The state of a search: which clusters no behavior tells apart yet."""

    def __init__(self, replies: Replies, concepts: Sequence[Concept]) -> None:
        self.replies = replies
        self.concepts = concepts
        self.open: BoolArray = np.ones(replies.n_clusters, dtype=bool)
        self.shares = {predicate: replies.shares(predicate) for predicate in self._fixed()}

    def _fixed(self) -> list[Predicate]:
        """The predicates that need no words of these answers."""
        asked = Counter(language_of(reply.prompt) for reply in self.replies)
        # Where both models switch languages completely, prefer the one that the prompts are not in.
        languages = sorted(
            {language_of(reply.text) for reply in self.replies} - {"", "zxx"},
            key=lambda name: (asked[name], name),
        )
        return [
            *(Predicate("form", (name,)) for name in FORMS),
            *(Predicate("language", (name,)) for name in languages),
            Predicate("repetition"),
        ]

    def whole_answers(self) -> list[Predicate]:
        """What can be asked about an answer as a whole; asked on all prompts."""
        self.open = np.ones_like(self.open)
        usual = int(np.median([len(reply.words) for reply in self.replies]))
        return [Predicate("length", least=usual), Predicate("unfinished")]

    @cached_property
    def words(self) -> tuple[list[str], dict[Side, FloatArray]]:
        """The content words, and for each model (k, words) the share of a cluster's answers that hold each."""
        texts = [reply.text for reply in self.replies]
        vectors = CountVectorizer(token_pattern=WORD, binary=True)
        try:
            counts = vectors.fit_transform(texts)
        except ValueError:  # no answer has a word
            return [], {side: np.zeros((self.replies.n_clusters, 0)) for side in SIDES}
        names = [str(name) for name in vectors.get_feature_names_out()]
        kept = [at for at, name in enumerate(names) if is_content(name)]
        n = len(texts) // 2
        dense = np.asarray(counts[:, kept].toarray(), dtype=np.float64)
        parts = {"base": dense[:n], "target": dense[n:]}
        return [names[at] for at in kept], {side: self.replies.by_cluster(parts[side]) for side in SIDES}

    def next(self) -> Candidate | None:
        """The best candidate on the open clusters; None where none separates the answers beyond chance."""
        if not self.open.any():
            return None
        names, shares = self.words
        scores = log_odds(shares["base"][self.open], shares["target"][self.open])
        leaders = [(abs(float(scores[at])), Predicate("words", (names[at],))) for at in _largest(scores)]
        fixed = [(abs(self._score(*shares)), predicate) for predicate, shares in self.shares.items()]
        strength, best = max([*fixed, *leaders], key=lambda item: item[0])
        if strength == 0:
            return None
        found = self.candidate(self._grown(best) if best.kind == "words" else best)
        if found is not None:
            base, target = self.replies.shares(found.predicate)
            self.open &= ~(target > base if found.side == "target" else base > target)
        return found

    def candidate(self, predicate: Predicate) -> Candidate | None:
        """The candidate of a predicate, measured on the open clusters; None where chance would do (`METHOD.alpha`)."""
        base, target = self.replies.shares(predicate)
        z = self._score(base, target)
        side: Side = "target" if z > 0 else "base"
        up, down = discordant(base[self.open], target[self.open])
        ahead, behind = (up, down) if side == "target" else (down, up)
        p = one_sided_p(ahead, behind)
        if p > METHOD.alpha:
            return None
        more = [] if predicate.kind in ("length", "unfinished") else self._setting_apart(side)
        return Candidate(
            predicate=predicate,
            side=side,
            words=tuple(dict.fromkeys([*predicate.words, *more]))[:LISTED_WORDS],
            phrase=self._phrase(predicate, side),
            concept=self._covering(predicate),
            z=z,
            p_value=p,
            base=float(base.mean()),
            target=float(target.mean()),
            ahead=ahead,
            behind=behind,
        )

    def _score(self, base: FloatArray, target: FloatArray) -> float:
        return float(log_odds(base[self.open, None], target[self.open, None])[0])

    def _setting_apart(self, side: Side) -> list[str]:
        """The content words that set the model's answers apart beyond chance on the open clusters, best first."""
        names, shares = self.words
        base, target = shares["base"][self.open], shares["target"][self.open]
        scores = log_odds(base, target) * (1 if side == "target" else -1)
        found = []
        for at in np.argsort(-scores, kind="stable")[:LISTED_WORDS]:
            up, down = discordant(base[:, at], target[:, at])
            if one_sided_p(*((up, down) if side == "target" else (down, up))) <= METHOD.alpha:
                found.append(names[at])
        return found

    def _answers(self, side: Side) -> list[str]:
        """The texts of a model's answers on the open clusters."""
        inside = self.open[self.replies.clusters]
        return [reply.text for reply, kept in zip(self.replies.answers[side], inside, strict=True) if kept]

    def _grown(self, leader: Predicate) -> Predicate:
        """The leader with the words that share its sentences, asked in the way that separates the answers best."""
        z = self._score(*self.replies.shares(leader))
        side: Side = "target" if z > 0 else "base"
        texts = self._answers(side)
        words = with_companions(leader.value[0], texts)
        options = [Predicate("words", words), Predicate("words", words, least=2)][: len(words)]
        if sequence := shared_sequence(texts, set(words)):
            options.append(Predicate("sequence", sequence))
        sign = 1 if side == "target" else -1
        return max(options, key=lambda option: sign * self._score(*self.replies.shares(option)))

    def _phrase(self, predicate: Predicate, side: Side) -> str:
        if predicate.kind in ("words", "sequence"):
            texts = self._answers(side)
            shared = shared_sequence(texts, set(predicate.value)) or predicate.value[:1]
            return as_written(texts, shared)
        return predicate.phrase

    def _covering(self, predicate: Predicate) -> Concept | None:
        """The concept that shares the predicate's words and holds for the most similar set of answers.

        It shares two words, or the only one; similar means a Jaccard index of at least 1/2 over both models' answers.
        """
        words = set(predicate.words)
        needed = min(2, len(words))
        own = np.concatenate([self.replies.holds(predicate, side) for side in SIDES])
        best, best_share = None, 0.5
        for concept in self.concepts:
            if not words or len(words & {word.casefold() for word in concept.words}) < needed:
                continue
            theirs = np.asarray([concept.holds(reply.text) for reply in self.replies])
            share = float((own & theirs).sum()) / max(1, int((own | theirs).sum()))
            if share > best_share:
                best, best_share = concept, share
        return best


def is_content(word: str) -> bool:
    """A word of two letters or more that is no English function word (scikit-learn's list)."""
    return len(word) > 1 and any(map(str.isalpha, word)) and word not in ENGLISH_STOP_WORDS


def _largest(scores: FloatArray) -> list[int]:
    """The index of the largest score in size, if there is one."""
    return [int(np.argmax(np.abs(scores)))] if len(scores) else []


def with_companions(leader: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The leader, then the content words that share at least half of its sentences, closest first."""
    sentences = [set(words_of(sentence)) for text in texts for sentence in _SENTENCE.split(text)]
    own = [sentence for sentence in sentences if leader in sentence]
    together = Counter(word for sentence in own for word in sentence)
    everywhere = Counter(word for sentence in sentences for word in sentence)
    close = {
        word: count / (len(own) + everywhere[word] - count)
        for word, count in together.items()
        if word != leader and is_content(word)
    }
    companions = sorted((word for word in close if close[word] >= COMPANION), key=lambda w: (-close[w], w))
    return (leader, *companions[: LISTED_WORDS - 1])


def shared_sequence(texts: Sequence[str], words: set[str]) -> tuple[str, ...] | None:
    """The longest word sequence with one of the words that at least half of the texts with such a word share.

    The more frequent of two equally long ones; None where no sequence of two words is shared.
    """
    having = [text for text in texts if words & set(words_of(text))]
    if len(having) < 2:
        return None
    needed = max(2, -(-len(having) // 2))
    vectors = CountVectorizer(token_pattern=WORD, ngram_range=(2, LONGEST), binary=True, min_df=needed)
    try:
        counts = np.asarray(vectors.fit_transform(having).sum(axis=0)).ravel()
    except ValueError:  # nothing is shared by half of them
        return None
    sequences = [tuple(str(name).split(" ")) for name in vectors.get_feature_names_out()]
    fitting = [(len(s), int(n), s) for s, n in zip(sequences, counts, strict=True) if words & set(s)]
    return max(fitting, key=lambda item: (item[0], item[1]), default=(0, 0, None))[2]


def as_written(texts: Sequence[str], words: Sequence[str]) -> str:
    """A word sequence as the texts write it most often, marks between its words included."""
    pattern = regex.compile(r"\b" + r"[^\w\n]{1,4}".join(map(regex.escape, words)) + r"\b", regex.IGNORECASE)
    written = Counter(found for text in texts for found in pattern.findall(text))
    return written.most_common(1)[0][0] if written else " ".join(words)
