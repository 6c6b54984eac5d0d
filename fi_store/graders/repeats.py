"""Removes from a reply what it only repeats from its prompt: a repeated question is not an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from fi_store.graders import statements as st
from fi_store.graders.text import phrase, sentences

NEW = 0.35
"""Share of a sentence's word triples that may be new in a repetition: about one changed word in ten."""
LONG = 5
"""Fewest words of a repetition; fewer ("Ada comes.") may be an answer that the prompt happens to contain."""
SHIFT = 3
"""Words by which a repetition may run ahead of the prompt or fall behind it between two matches."""
MAX_POSITIONS = 8
"""Positions of the same word triple in a prompt that are remembered."""

_EDGE = ""
"""Marks the boundaries of sentences in a sequence of words."""
_LABELS = frozenset(("question", "problem", "prompt", "task", "q", "user", "premise", "given", "so", "and"))
_OPTION = re.compile(r"[\W_]{0,4}[A-Za-z][).:]")
_NAMED = re.compile(r"\b(?i:option|answer|choice|pair|statement)\s(?:is\s)?[\W_]{0,3}[A-Z]\b")
_NEXT_WORD = re.compile(r"\W{0,8}\w{1,40}")

Words = tuple[str, ...]
CanDecide = Callable[[Collection[str]], bool]
"""Whether an answer can depend on some words."""


class _Prompt(NamedTuple):
    """A prompt in lowercase on one line, the same without punctuation, and the positions of its word triples.

    Triples run across the boundaries of sentences.
    """

    flat: str
    words: str
    triples: Mapping[Words, frozenset[int]]


class _Sentence(NamedTuple):
    """A sentence of a reply as written, with the spaces after it, its words, and whether it is repeated.

    `rearranged`: repeated words in a new order; a statement, unless the reply goes on to repeat what follows them.
    """

    text: str
    words: Words
    repeated: bool
    rearranged: bool = False


def without_repeats(reply: str, prompt: str, *, answers: Collection[Words], can_decide: CanDecide) -> str:
    """The reply without the sentences that repeat the prompt, word for word or nearly.

    A sentence is not a repetition if an answer can depend on its new words, or if it states an answer ("the answer is")
    where the prompt does not. Neither are these when they stand alone: one of `answers`, an option with its letter, and
    words of the prompt that begin or end unlike any of its sentences or come from several parts of it.
    """
    known, found = _prompt(prompt), sentences(reply)
    if not known.triples or not found:
        return reply
    ends = [*(span.start for span in found[1:]), len(reply)]
    read = [_read(reply[span.start : end], known, can_decide) for span, end in zip(found, ends, strict=True)]
    kept = [run for run in _runs(read, known.triples) if not _is_repetition(run, answers)]
    return reply[: found[0].start] + "".join(one.text for run in kept for one in run)


def _is_repetition(run: Sequence[_Sentence], answers: Collection[Words]) -> bool:
    alone = run[0] if len(run) == 1 else None
    if alone is not None and (alone.rearranged or alone.words in answers or _OPTION.match(alone.text)):
        return False
    return run[0].repeated and sum(len(one.words) for one in run) >= LONG


def _runs(read: Sequence[_Sentence], known: Collection[Words]) -> Iterator[list[_Sentence]]:
    """Groups the sentences: repeated ones that also follow each other in the prompt are one run."""
    run: list[_Sentence] = []
    for one in read:
        if run and not (
            one.repeated and run[-1].repeated and (run[-1].words[-1], _EDGE, one.words[0]) in known
        ):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _read(text: str, prompt: _Prompt, can_decide: CanDecide) -> _Sentence:
    words = phrase(text)
    if _is_stated(text, prompt):
        return _Sentence(text, words, False)
    unlabeled = words
    while unlabeled and unlabeled[0] in _LABELS:
        unlabeled = unlabeled[1:]
    forms = [form for form in dict.fromkeys((unlabeled, words)) if form]
    if any(_is_begun(form, text, prompt) for form in forms):
        return _Sentence(text, forms[-1], True)
    known = [
        _Sentence(text, form, True, _is_rearranged(form, prompt.triples))
        for form in forms
        if _is_known(form, prompt.triples, can_decide)
    ]
    return min(known, key=lambda one: one.rearranged, default=_Sentence(text, words, False))


def _is_stated(text: str, prompt: _Prompt) -> bool:
    """Whether a text states an answer ("the answer is", "option B", and the next word) and the prompt does not."""
    named = [one.span() for one in islice(_NAMED.finditer(text), st.MAX_STATEMENTS)]
    for start, end in [*st.cues(text), *named]:
        following = _NEXT_WORD.match(text, end)
        cue = _bare(text[start : following.end() if following is not None else end])
        if f" {cue} " not in prompt.words:
            return True
    return False


def _is_rearranged(words: Words, known: Mapping[Words, frozenset[int]]) -> bool:
    """Whether words of the prompt begin or end unlike any of its sentences, or jump from one part of it to another."""
    triples = _triples((_EDGE, *words, _EDGE))
    if not triples or triples[0] not in known or triples[-1] not in known:
        return True
    last, positions = 0, known[triples[0]]
    for number, triple in enumerate(triples[1:], 1):
        if triple not in known:
            continue
        ahead = range(max(1, number - last - SHIFT), number - last + SHIFT + 1)
        if not any(position + step in known[triple] for position in positions for step in ahead):
            return True
        last, positions = number, known[triple]
    return False


def _is_known(words: Words, known: Collection[Words], can_decide: CanDecide) -> bool:
    """Whether few triples of a sentence are new, and no answer can depend on the new words.

    New words are those that occur only in new triples or where the sentence begins or ends in a new way.
    """
    triples = _triples((_EDGE, *words, _EDGE))
    new = [triple for triple in triples if triple not in known]
    if len(new) > NEW * len(triples):
        return False
    covered = {word for triple in triples if triple in known for word in triple}
    foreign = {word for triple in new for word in triple if word not in covered or _EDGE in triple} - {_EDGE}
    return not foreign or not can_decide(foreign)


def _is_begun(words: Words, text: str, prompt: _Prompt) -> bool:
    """Whether a text is the beginning of a sentence of the prompt that was cut off midway."""
    return (_EDGE, *words[:2]) in prompt.triples and _flat(text) in prompt.flat


@lru_cache(maxsize=64)
def _prompt(text: str) -> _Prompt:
    words = [word for span in sentences(text) for word in (*phrase(span.text), _EDGE)]
    positions: dict[Words, set[int]] = {}
    for position, triple in enumerate(_triples((_EDGE, *words))):
        if len(known := positions.setdefault(triple, set())) < MAX_POSITIONS:
            known.add(position)
    triples = {triple: frozenset(known) for triple, known in positions.items()}
    return _Prompt(_flat(text), f" {_bare(text)} ", triples)


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())


def _bare(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _triples(words: Words) -> list[Words]:
    return [words[start : start + 3] for start in range(len(words) - 2)]
