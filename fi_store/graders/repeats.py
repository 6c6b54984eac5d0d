"""Leaves out of a reply what it only repeats from its prompt: a question that is said again is no answer to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from fi_store.graders import statements as st
from fi_store.graders.text import phrase, sentences

NEW = 0.35
"""Share of a sentence's word triples that may be new in a repetition: about one word in ten is another one."""
LONG = 5
"""Words that are a repetition; fewer ("Ada comes.") may be an answer that the prompt happens to hold."""

SHIFT = 3
"""Words by which a repetition may run ahead of the prompt, or fall behind it, from one place to the next."""
MAX_PLACES = 8
"""Places of the same word triple in a prompt that are remembered."""

_EDGE = ""
"""Stands before, between and after the sentences in a sequence of words."""
_LABELS = frozenset(("question", "problem", "prompt", "task", "q", "user", "premise", "given", "so", "and"))
_OPTION = re.compile(r"[\W_]{0,4}[A-Za-z][).:]")
_NAMED = re.compile(r"\b(?i:option|answer|choice|pair|statement)\s(?:is\s)?[\W_]{0,3}[A-Z]\b")
_NEXT_WORD = re.compile(r"\W{0,8}\w{1,40}")

Words = tuple[str, ...]


Tells = Callable[[Collection[str]], bool]
"""Whether an answer can turn on some words."""


class _Asked(NamedTuple):
    """A prompt on one line in small letters, that line without punctuation, and where its word triples stand, over the
    edges of its sentences."""

    flat: str
    words: str
    triples: Mapping[Words, frozenset[int]]


class _Sentence(NamedTuple):
    """A sentence of a reply as it stands there, with the blanks that follow, its words, and whether it is repeated.

    `own` are repeated words put together anew: a statement, unless the reply goes on to repeat what follows them.
    """

    text: str
    said: Words
    repeated: bool
    own: bool = False


def without_repeats(reply: str, prompt: str, *, answers: Collection[Words], tells: Tells) -> str:
    """The reply without the sentences that repeat the prompt, word for word or nearly.

    A sentence in which new words tell something is no repetition, nor is one that states an answer ("the answer is")
    where the prompt does not. Standing alone, these are none either: one of `answers`, an option with its letter, and
    the prompt's words where they begin or end as no sentence of it does, or come from several of its places.
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
    if alone is not None and (alone.own or alone.said in answers or _OPTION.match(alone.text)):
        return False
    return run[0].repeated and sum(len(one.said) for one in run) >= LONG


def _runs(read: Sequence[_Sentence], known: Collection[Words]) -> Iterator[list[_Sentence]]:
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
    if _is_stated(text, asked):
        return _Sentence(text, said, False)
    unlabelled = said
    while unlabelled and unlabelled[0] in _LABELS:
        unlabelled = unlabelled[1:]
    forms = [one for one in dict.fromkeys((unlabelled, said)) if one]
    if any(_is_begun(one, text, asked) for one in forms):
        return _Sentence(text, forms[-1], True)
    known = [
        _Sentence(text, one, True, _is_own(one, asked.triples))
        for one in forms
        if _is_known(one, asked.triples, tells)
    ]
    return min(known, key=lambda one: one.own, default=_Sentence(text, said, False))


def _is_stated(text: str, asked: _Asked) -> bool:
    """Whether a text states an answer as the prompt does not: "the answer is", "option B", with the word after it."""
    named = [one.span() for one in islice(_NAMED.finditer(text), st.MAX_STATEMENTS)]
    for start, end in [*st.cues(text), *named]:
        following = _NEXT_WORD.match(text, end)
        cue = _bare(text[start : following.end() if following is not None else end])
        if f" {cue} " not in asked.words:
            return True
    return False


def _is_own(said: Words, known: Mapping[Words, frozenset[int]]) -> bool:
    """Whether words of the prompt begin or end as no sentence of it does, or leap from one of its places to another."""
    triples = _triples((_EDGE, *said, _EDGE))
    if not triples or triples[0] not in known or triples[-1] not in known:
        return True
    last, places = 0, known[triples[0]]
    for number, triple in enumerate(triples[1:], 1):
        if triple not in known:
            continue
        ahead = range(max(1, number - last - SHIFT), number - last + SHIFT + 1)
        if not any(place + step in known[triple] for place in places for step in ahead):
            return True
        last, places = number, known[triple]
    return False


def _is_known(said: Words, known: Collection[Words], tells: Tells) -> bool:
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
    places: dict[Words, set[int]] = {}
    for place, triple in enumerate(_triples((_EDGE, *(word for one in said for word in (*one, _EDGE))))):
        if len(held := places.setdefault(triple, set())) < MAX_PLACES:
            held.add(place)
    return _Asked(_flat(prompt), f" {_bare(prompt)} ", {one: frozenset(held) for one, held in places.items()})


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())


def _bare(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _triples(said: Words) -> list[Words]:
    return [said[place : place + 3] for place in range(len(said) - 2)]
