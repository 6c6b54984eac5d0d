"""Grades free-text replies: pulls the stated answer out of a reply and compares it with the right one.

Pure functions of text. A reply comes from a model and is treated as hostile: its length is capped, every pattern is
bounded, and nothing in it is evaluated or run. `prompts/README.md` describes the kinds of grader.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import regex

from fi_store.graders import choices, code, numbers, phrases, sets
from fi_store.graders import statements as st
from fi_store.graders.order import directions
from fi_store.graders.repeats import without_repeats
from fi_store.graders.text import MAX_REPLY, Reply, denied, phrase, plain, words

MAX_EXTRACTED = 300
"""Characters of an extracted answer that are kept."""
REGEX_SECONDS = 0.2
"""Time limit for a prompt file's pattern on one reply."""
NOTHING, AMBIGUOUS, TOO_SLOW, NO_GRADER = "no answer found", "undecided", "pattern too slow", "no such grader"


@dataclass(frozen=True)
class Grade:
    """How a reply was judged.

    `correct` is None if no answer could be extracted, because there is none or because the reply commits to several;
    `extracted` is the answer as it was read; `how` says where it was found, or why there is none.
    """

    correct: bool | None
    extracted: str | None
    how: str


class _Task(NamedTuple):
    """What a reply is judged against."""

    grader: Mapping[str, Any]
    answer: str
    prompt: str


def grade(grader: Mapping[str, Any], answer: str, reply: str, prompt: str = "") -> Grade:
    """Judges a reply. `grader` and the right `answer` are those of a prompt file.

    `prompt` is the text that was replied to; pass it wherever it is known. What the reply only repeats from it is not
    read as an answer, an ordered list is read in the direction that it asks for ("from lightest to heaviest"), and if
    it asks for the wrong one of several options, "B is wrong" does not rule out B.

    Never raises on any reply; a grader that no prompt file may contain (an unknown kind, a choice without options)
    gives a `Grade` without an answer.
    """
    judge = _JUDGES.get(str(grader.get("kind")))
    if judge is None:
        return Grade(None, None, NO_GRADER)
    task = _Task(grader, answer, prompt)
    unrepeated = without_repeats(
        reply[-MAX_REPLY:], prompt, answers=_answers(task), can_decide=lambda new: _can_decide(task, new)
    )
    if not unrepeated.strip():
        return Grade(None, None, NOTHING)
    # A reply may quote code in parts, and lines of code are not sentences, so code is read in the whole reply.
    return judge(task, reply if grader["kind"] == "code" and words(unrepeated) else unrepeated)


def _answers(task: _Task) -> Collection[tuple[str, ...]]:
    """The phrases that are an answer by themselves."""
    named = (task.answer, *task.grader.get("aliases", ()), *task.grader.get("options", ()))
    return {phrase(str(text)) for text in named}


def _can_decide(task: _Task, new: Collection[str]) -> bool:
    """Whether an answer can depend on the words: a number, an option, an item or a negation; any word if any may be."""
    if not _DENIALS.isdisjoint(new) or any(word.endswith("n't") for word in new):
        return True
    kind = task.grader["kind"]
    if kind == "number":
        return bool(numbers.numbers(" ".join(new)))
    if kind == "choice":
        options = choices.Options(task.grader.get("options", ()))
        return any(word in new for option in options.phrases for word in option)
    if kind == "set":
        return any(word in new for item in task.grader.get("universe", ()) for word in phrase(str(item)))
    return True


def _exact(task: _Task, reply: str) -> Grade:
    accepted = [phrase(text) for text in (task.answer, *task.grader.get("aliases", ()))]
    accepted = [one for one in accepted if one]
    if phrase(reply) in accepted:
        return Grade(True, _excerpt(reply), st.WHOLE)
    return _phrase(plain(reply), phrases.names_one_of(accepted))


def _regex(task: _Task, reply: str) -> Grade:
    try:
        pattern = regex.compile(str(task.grader.get("pattern", "(?!)")), regex.IGNORECASE | regex.UNICODE)
    except (regex.error, RecursionError, MemoryError):
        return Grade(None, None, NO_GRADER)

    def holds(text: str) -> bool:
        matches = pattern.finditer(text, timeout=REGEX_SECONDS)
        return any(not denied(text, *match.span()) for match in matches)

    try:
        if phrase(reply) == phrase(task.answer) and holds(task.answer):
            return Grade(True, _excerpt(reply), st.WHOLE)
        return _phrase(plain(reply), holds)
    except TimeoutError:
        return Grade(None, None, TOO_SLOW)


def _phrase(reply: Reply, holds: phrases.Holds) -> Grade:
    found = _last_found(reply, lambda segment: phrases.find_phrase(segment, holds))
    if not isinstance(found, st.Found):
        return _no_answer(found)
    text, right = found.value
    return Grade(right, _excerpt(text), found.how)


def _number(task: _Task, reply: str) -> Grade:
    grader, answer, _ = task
    if numbers.plain_number(answer) is None:
        return Grade(None, None, NO_GRADER)
    found = _last_found(plain(reply), lambda segment: numbers.find_number(segment, grader))
    if not isinstance(found, st.Found):
        return _no_answer(found)
    return Grade(numbers.equals(found.value, answer, grader), _excerpt(found.value.text), found.how)


def _choice(task: _Task, reply: str) -> Grade:
    options = [str(option) for option in task.grader.get("options", ())]
    known = choices.Options(options)
    right = known.whole(phrase(task.answer))
    if right is None:
        return Grade(None, None, NO_GRADER)
    whole = known.whole(phrase(reply))
    if whole is not None:
        return Grade(whole == right, options[whole], st.WHOLE)
    found = _last_found(plain(reply), lambda segment: choices.find_choice(segment, known, task.prompt))
    if not isinstance(found, st.Found):
        return _no_answer(found)
    return Grade(found.value == right, options[found.value], found.how)


def _set(task: _Task, reply: str) -> Grade:
    universe = [str(item) for item in task.grader.get("universe", ())]
    items = frozenset(word for item in universe for word in phrase(item))
    requested = directions(task.prompt, items) if task.grader.get("ordered") else None
    right = sets.whole_set(task.answer, universe)
    if right is None:
        return Grade(None, None, NO_GRADER)
    whole = sets.whole_set(reply, universe)
    found: st.Value[st.Found] = st.Found(whole, st.WHOLE) if whole is not None else None
    if found is None:
        found = _last_found(plain(reply), lambda segment: sets.find_set(segment, universe, requested))
    if not isinstance(found, st.Found):
        return _no_answer(found)
    listed = sets.deduplicated(found.value, right)
    same = listed == right if requested is not None else set(listed) == set(right)
    return Grade(same, _excerpt(", ".join(universe[item] for item in listed)), found.how)


def _code(task: _Task, reply: str) -> Grade:
    language = str(task.grader.get("language", "python"))
    right = code.normal_form(task.answer, language)
    if right is None:
        return Grade(None, None, NO_GRADER)
    if code.normal_form(reply, language) == right:
        return Grade(True, _excerpt(reply), st.WHOLE)
    found = code.find_code(reply[-MAX_REPLY:], language, statements=code.has_statements(right))
    if found is None:
        return Grade(None, None, NOTHING)
    return Grade(found.form == right, _excerpt(found.text), found.how)


def _last_found(reply: Reply, find: Callable[[Reply], st.Value[st.Found]]) -> st.Value[st.Found]:
    """The answer in the last part of a reply that gives one; a correction overrides what came before it."""
    for segment in reversed(st.segments(reply)):
        found = find(segment) if words(segment.text) else None
        if found is not None:
            return found
    return None


def _no_answer(found: st.Undecided | None) -> Grade:
    return Grade(None, None, NOTHING if found is None else AMBIGUOUS)


def _excerpt(text: str) -> str:
    return " ".join(text.split())[:MAX_EXTRACTED]


_DENIALS = frozenset(
    ("not", "no", "never", "cannot", "neither", "nor", "none", "nothing", "nil", "without", "or")
)
_JUDGES: dict[str, Callable[[_Task, str], Grade]] = {
    "exact": _exact,
    "number": _number,
    "choice": _choice,
    "set": _set,
    "regex": _regex,
    "code": _code,
}
KINDS = tuple(_JUDGES)
"""The kinds of grader."""
