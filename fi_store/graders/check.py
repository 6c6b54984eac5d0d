"""Checks a grader and its answers for faults before any model has replied."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import regex

from fi_store.graders.code import normal_form
from fi_store.graders.grading import grade
from fi_store.graders.numbers import plain_number
from fi_store.graders.sets import whole_set
from fi_store.graders.text import phrase

TRIAL_SECONDS = 0.1
"""Time limit for a pattern on one trial text."""
TRIAL_LENGTH = 2_000
"""Characters of a trial text."""


class Fault(NamedTuple):
    """A fault: its key (answer, grader or failure_answer), what is wrong, and what to do."""

    key: str
    what: str
    todo: str


def faults(
    grader: Mapping[str, Any], answer: str, failure_answer: str | None, prompt: str
) -> Iterator[Fault]:
    """The faults of a grader whose options have the right form; none if it tells right from wrong."""
    found = list(_option_faults(grader, answer, failure_answer))
    yield from found
    if any(fault.key in ("grader", "answer") for fault in found):
        return
    if grade(grader, answer, answer, prompt).correct is not True:
        yield Fault(
            "answer", "the grader refuses its own answer", f"change the answer {answer[:40]!r} or the grader"
        )
    if failure_answer is not None and grade(grader, answer, failure_answer, prompt).correct is True:
        yield Fault(
            "failure_answer",
            "the grader accepts the failure_answer",
            f"make {failure_answer[:40]!r} a wrong answer, or the grader stricter",
        )


def _option_faults(grader: Mapping[str, Any], answer: str, failure_answer: str | None) -> Iterator[Fault]:
    kind = grader["kind"]
    if kind in ("choice", "set"):
        yield from _list_faults(grader, answer, failure_answer)
    elif kind == "number" and plain_number(answer) is None:
        yield Fault(
            "answer",
            f"the answer {answer[:40]!r} is not a plain number",
            'write it like "34", "-0.25" or "3/8"',
        )
    elif kind == "regex":
        yield from _pattern_faults(grader["pattern"], answer)
    elif kind == "code" and normal_form(answer, grader["language"]) is None:
        yield Fault("answer", f"the answer cannot be parsed as {grader['language']}", "fix it")
    elif kind == "exact":
        for text in (answer, *grader.get("aliases", ())):
            if not phrase(text):
                key = "answer" if text == answer else "grader"
                yield Fault(
                    key, f"{text[:40]!r} contains neither a letter nor a digit", "use a word, or a choice"
                )


def _list_faults(grader: Mapping[str, Any], answer: str, failure_answer: str | None) -> Iterator[Fault]:
    name = "options" if grader["kind"] == "choice" else "universe"
    items = [phrase(item) for item in grader[name]]
    if len(set(items)) < len(items) or not all(items):
        yield Fault(
            "grader", f"two of the {name} read the same, or one is empty", "give each a different word"
        )
        return
    if len(items) < 2:
        yield Fault("grader", f"there must be at least two {name}", "list all that could be chosen")
        return
    listed = ", ".join(grader[name])[:80]
    if name == "universe":
        if whole_set(answer, grader[name]) is None:
            yield Fault(
                "answer", "the answer names something that is not in the universe", f"use items of: {listed}"
            )
        return
    for key, text in (("answer", answer), ("failure_answer", failure_answer)):
        if text is not None and phrase(text) not in items:
            yield Fault(key, f"the {key} {text[:40]!r} is none of the options", f"make it one of: {listed}")


def _pattern_faults(pattern: str, answer: str) -> Iterator[Fault]:
    try:
        compiled = regex.compile(pattern, regex.IGNORECASE | regex.UNICODE)
    except (regex.error, RecursionError, MemoryError) as error:
        yield Fault("grader", f"the pattern is not a regular expression: {str(error)[:80]}", "fix it")
        return
    characters = sorted({sign for sign in pattern + answer if sign.isalnum() or sign == " "})[:12]
    trials = [character * TRIAL_LENGTH + "!" for character in characters]
    trials.append((answer + " ") * (TRIAL_LENGTH // (len(answer) + 1)) + "!")
    started = time.perf_counter()
    try:
        for text in trials:
            compiled.search(text, timeout=TRIAL_SECONDS)
    except TimeoutError:
        yield Fault(
            "grader",
            f"the pattern took longer than {time.perf_counter() - started:.2f} s on {TRIAL_LENGTH} characters",
            "avoid repetitions inside repetitions",
        )
