"""Grades free-text replies: pulls the stated answer out of a reply and compares it with the right one.

Pure functions of text. A reply was written by a model and is hostile until shown otherwise: its length is capped, every
pattern is bounded, nothing of it is evaluated or run. The kinds of grader stand in `prompts/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import regex

from fi_store.graders import choices, code, numbers, phrases, sets
from fi_store.graders import statements as st
from fi_store.graders.text import MAX_REPLY, Reply, denied, phrase, plain, words

MAX_EXTRACTED = 300
"""Characters of an extracted answer that are handed on."""
REGEX_SECONDS = 0.2
"""Time that a prompt file's pattern may take on one reply."""
NOTHING, AMBIGUOUS, TOO_SLOW, NO_GRADER = "no answer found", "undecided", "pattern too slow", "no such grader"


@dataclass(frozen=True)
class Grade:
    """How a reply was judged.

    `correct` is None when no answer could be extracted, be it that there is none or that the reply commits to several;
    `extracted` is the answer as it was read; `how` says where it stood (or why there is none).
    """

    correct: bool | None
    extracted: str | None
    how: str


def grade(grader: Mapping[str, Any], answer: str, reply: str) -> Grade:
    """Judges a reply. `grader` is one that a prompt file may hold, `answer` the right answer beside it.

    Never raises on any reply; a grader that no prompt file may hold (an unknown kind, a choice without options) gives
    a `Grade` without an answer.
    """
    judge = _JUDGES.get(str(grader.get("kind")))
    if judge is None:
        return Grade(None, None, NO_GRADER)
    if not reply.strip():
        return Grade(None, None, NOTHING)
    return judge(grader, answer, reply)


def _exact(grader: Mapping[str, Any], answer: str, reply: str) -> Grade:
    accepted = [phrase(one) for one in (answer, *grader.get("aliases", ()))]
    accepted = [one for one in accepted if one]
    if phrase(reply[:MAX_REPLY]) in accepted:
        return Grade(True, _shown(reply), st.WHOLE)
    return _phrase(plain(reply), phrases.names_one_of(accepted))


def _regex(grader: Mapping[str, Any], answer: str, reply: str) -> Grade:
    try:
        pattern = regex.compile(str(grader.get("pattern", "(?!)")), regex.IGNORECASE | regex.UNICODE)
    except (regex.error, RecursionError, MemoryError):
        return Grade(None, None, NO_GRADER)

    def holds(text: str) -> bool:
        return any(not denied(text, *one.span()) for one in pattern.finditer(text, timeout=REGEX_SECONDS))

    try:
        if phrase(reply[:MAX_REPLY]) == phrase(answer) and holds(answer):
            return Grade(True, _shown(reply), st.WHOLE)
        return _phrase(plain(reply), holds)
    except TimeoutError:
        return Grade(None, None, TOO_SLOW)


def _phrase(reply: Reply, holds: phrases.Holds) -> Grade:
    found = _settled(reply, lambda segment: phrases.find_phrase(segment, holds))
    if not isinstance(found, st.Found):
        return _none(found)
    said, right = found.value
    return Grade(right, _shown(said), found.how)


def _number(grader: Mapping[str, Any], answer: str, reply: str) -> Grade:
    if numbers.plain_number(answer) is None:
        return Grade(None, None, NO_GRADER)
    found = _settled(plain(reply), lambda segment: numbers.find_number(segment, grader))
    if not isinstance(found, st.Found):
        return _none(found)
    return Grade(numbers.equals(found.value, answer, grader), _shown(found.value.text), found.how)


def _choice(grader: Mapping[str, Any], answer: str, reply: str) -> Grade:
    options = [str(option) for option in grader.get("options", ())]
    known = choices.Options(options)
    right = known.whole(phrase(answer))
    if right is None:
        return Grade(None, None, NO_GRADER)
    whole = known.whole(phrase(reply[:MAX_REPLY]))
    if whole is not None:
        return Grade(whole == right, options[whole], st.WHOLE)
    found = _settled(plain(reply), lambda segment: choices.find_choice(segment, known))
    if not isinstance(found, st.Found):
        return _none(found)
    return Grade(found.value == right, options[found.value], found.how)


def _set(grader: Mapping[str, Any], answer: str, reply: str) -> Grade:
    universe = [str(item) for item in grader.get("universe", ())]
    right = sets.whole_set(answer, universe)
    if right is None:
        return Grade(None, None, NO_GRADER)
    whole = sets.whole_set(reply[:MAX_REPLY], universe)
    found: st.Reading[st.Found] = st.Found(whole, st.WHOLE) if whole is not None else None
    if found is None:
        found = _settled(plain(reply), lambda segment: sets.find_set(segment, universe))
    if not isinstance(found, st.Found):
        return _none(found)
    told = sets.told(found.value, right)
    same = told == right if grader.get("ordered") else set(told) == set(right)
    return Grade(same, _shown(", ".join(universe[item] for item in told)), found.how)


def _code(grader: Mapping[str, Any], answer: str, reply: str) -> Grade:
    language = str(grader.get("language", "python"))
    right = code.normal_form(answer, language)
    if right is None:
        return Grade(None, None, NO_GRADER)
    if code.normal_form(reply, language) == right:
        return Grade(True, _shown(reply), st.WHOLE)
    found = code.find_code(reply[-MAX_REPLY:], language, statements=code.has_statements(right))
    if found is None:
        return Grade(None, None, NOTHING)
    return Grade(found.form == right, _shown(found.text), found.how)


def _settled(reply: Reply, find: Callable[[Reply], st.Reading[st.Found]]) -> st.Reading[st.Found]:
    """What the last part of a reply that says anything says; a correction counts more than what stood before it."""
    for segment in reversed(st.segments(reply)):
        found = find(segment) if words(segment.text) else None
        if found is not None:
            return found
    return None


def _none(found: st.Undecided | None) -> Grade:
    return Grade(None, None, NOTHING if found is None else AMBIGUOUS)


def _shown(text: str) -> str:
    return " ".join(text.split())[:MAX_EXTRACTED]


_JUDGES: dict[str, Callable[[Mapping[str, Any], str, str], Grade]] = {
    "exact": _exact,
    "number": _number,
    "choice": _choice,
    "set": _set,
    "regex": _regex,
    "code": _code,
}
KINDS = tuple(_JUDGES)
"""The kinds of grader."""
