"""Words and word sequences of answers: which may lead a behavior, which belong together, how they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import regex
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from analyze.behaviors.predicates import sequence_spans, words_of

LISTED_WORDS = 10
"""At most this many words describe a behavior."""
COMPANION = 0.5
"""A word joins another if the Jaccard index of their sentences is at least this."""
LONGEST = 8
"""Length of the longest word sequence, in words."""
MAX_WORD = 40
"""Longer words are no words: a model that repeats a letter writes one."""
MAX_PHRASE = 80
"""Characters of a quoted phrase."""
_SENTENCE = regex.compile(r"(?<=[.!?。！？])\s+|\n+")


def is_content(word: str) -> bool:
    """A word of 2 to 40 letters and digits that is no English function word (scikit-learn's list)."""
    return 1 < len(word) <= MAX_WORD and any(map(str.isalpha, word)) and word not in ENGLISH_STOP_WORDS


def is_function_word(word: str) -> bool:
    """An English function word (scikit-learn's list) of two letters or more."""
    return len(word) > 1 and word in ENGLISH_STOP_WORDS


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

    It stays within a sentence. Of equally long ones the more frequent, then the first in alphabetical order; None if no
    sequence of two words is shared by two texts.
    """
    having = [text for text in texts if words & set(words_of(text))]
    counts = Counter(found for text in having for found in set(_sequences(text)))
    needed = max(2, -(-len(having) // 2))
    fitting = [s for s, count in counts.items() if count >= needed and words & set(s)]
    return min(fitting, key=lambda s: (-len(s), -counts[s], s), default=None)


def _sequences(text: str) -> Iterator[tuple[str, ...]]:
    for sentence in _SENTENCE.split(text):
        own = words_of(sentence)
        for size in range(2, LONGEST + 1):
            for start in range(len(own) - size + 1):
                yield tuple(own[start : start + size])


def as_written(texts: Sequence[str], words: tuple[str, ...]) -> str:
    """A word sequence as the texts write it most often, marks between its words included, cut after 80 characters."""
    written = Counter(
        " ".join(text[start:end].split()) for text in texts for start, end in sequence_spans(text, words)
    )
    phrase = min(written, key=lambda found: (-written[found], found), default=" ".join(words))
    return phrase if len(phrase) <= MAX_PHRASE else f"{phrase[:MAX_PHRASE].rstrip()}…"
