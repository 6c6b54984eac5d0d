"""Leaves out of a reply what it only repeats from its prompt: a question that is said again is no answer to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from fi_store.graders.text import phrase, sentences

NEW = 0.35
"""Share of a sentence's word triples that may be new in a repetition: about one word in ten is another one."""
LONG = 5
"""Words that are a repetition; fewer ("Ada comes.") may be an answer that the prompt happens to hold."""

_EDGE = ""
"""Stands before, between and after the sentences in a sequence of words."""
_LABELS = frozenset(("question", "problem", "prompt", "task", "q", "user", "premise", "given", "so", "and"))
_OPTION = re.compile(r"[\W_]{0,4}[A-Za-z][).:]")

Words = tuple[str, ...]


Tells = Callable[[Collection[str]], bool]
"""Whether an answer can turn on some words."""


class _Asked(NamedTuple):
    """A prompt on one line in small letters, and its word triples over the edges of its sentences."""

    flat: str
    triples: frozenset[Words]


class _Sentence(NamedTuple):
    """A sentence of a reply as it stands there, with the blanks that follow, its words, and whether it is repeated."""

    text: str
    said: Words
    repeated: bool


def without_repeats(reply: str, prompt: str, *, answers: Collection[Words], tells: Tells) -> str:
    """The reply without the sentences that repeat the prompt, word for word or nearly.

    A sentence in which new words tell something is no repetition. One of `answers`, or an option with its letter, is an
    answer even where it is a sentence of the prompt, if it stands alone.
    """
    asked, found = _asked(prompt), sentences(reply)
    if not asked.triples or not found:
        return reply
    ends = [*(span.start for span in found[1:]), len(reply)]
    read = [_read(reply[span.start : end], asked, tells) for span, end in zip(found, ends, strict=True)]
    kept = [run for run in _runs(read, asked.triples) if not _is_repetition(run, answers)]
    return reply[: found[0].start] + "".join(one.text for run in kept for one in run)


def _is_repetition(run: Sequence[_Sentence], answers: Collection[Words]) -> bool:
    alone = run[0] if len(run) == 1 else None
    if alone is not None and (alone.said in answers or _OPTION.match(alone.text)):
        return False
    return run[0].repeated and sum(len(one.said) for one in run) >= LONG


def _runs(read: Sequence[_Sentence], known: frozenset[Words]) -> Iterator[list[_Sentence]]:
    """The sentences, those together that are repeated and follow each other in the prompt too."""
    run: list[_Sentence] = []
    for one in read:
        if run and not (
            one.repeated and run[-1].repeated and (run[-1].said[-1], _EDGE, one.said[0]) in known
        ):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _read(text: str, asked: _Asked, tells: Tells) -> _Sentence:
    said = phrase(text)
    unlabelled = said
    while unlabelled and unlabelled[0] in _LABELS:
        unlabelled = unlabelled[1:]
    for one in dict.fromkeys((said, unlabelled)):
        if one and (_is_known(one, asked.triples, tells) or _is_begun(one, text, asked)):
            return _Sentence(text, one, True)
    return _Sentence(text, said, False)


def _is_known(said: Words, known: frozenset[Words], tells: Tells) -> bool:
    """Whether few triples of a sentence are new, and nothing that tells: no word that stands in new ones only, and none
    where the sentence begins or ends otherwise."""
    triples = _triples((_EDGE, *said, _EDGE))
    new = [triple for triple in triples if triple not in known]
    if len(new) > NEW * len(triples):
        return False
    covered = {word for triple in triples if triple in known for word in triple}
    foreign = {word for triple in new for word in triple if word not in covered or _EDGE in triple} - {_EDGE}
    return not foreign or not tells(foreign)


def _is_begun(said: Words, text: str, asked: _Asked) -> bool:
    """Whether a text is the beginning of a sentence of the prompt, cut off in its midst."""
    return (_EDGE, *said[:2]) in asked.triples and _flat(text) in asked.flat


@lru_cache(maxsize=64)
def _asked(prompt: str) -> _Asked:
    said = [phrase(span.text) for span in sentences(prompt)]
    triples = _triples((_EDGE, *(word for one in said for word in (*one, _EDGE))))
    return _Asked(_flat(prompt), frozenset(triples))


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())


def _triples(said: Words) -> list[Words]:
    return [said[place : place + 3] for place in range(len(said) - 2)]
