"""Grading free-text replies: what is read from them, what is rejected, and that no reply can do harm."""

from __future__ import annotations

import json
import random
import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fi_store.graders import KINDS, grade
from fi_store.graders.grading import MAX_EXTRACTED, Grade
from fi_store.graders.text import MAX_REPLY
from tests.helpers.graded_replies import (
    ABCD,
    AREA,
    DIGITS,
    EXACT,
    HIVE,
    JSON,
    KM,
    LIKELY,
    MENU,
    NUMBER,
    PYTHON,
    REPLIES,
    SHARE,
    TALKS,
    TO_PROMPTS,
    VALID,
    WEDDING,
    YES_NO,
)


@pytest.mark.parametrize(
    ("reply", "grader", "answer", "correct", "extracted"), REPLIES, ids=lambda v: str(v)[:50]
)
def test_a_reply(
    reply: str, grader: dict[str, Any], answer: str, correct: bool | None, extracted: str | None
) -> None:
    """`extracted` is compared where the table gives it, and must be None where nothing could be read."""
    found = grade(grader, answer, reply)
    assert found.correct is correct, found
    if extracted is not None or correct is None:
        assert found.extracted == extracted
    assert found.how


@pytest.mark.parametrize(
    ("reply", "prompt", "grader", "answer", "correct", "extracted"), TO_PROMPTS, ids=lambda v: str(v)[:50]
)
def test_a_reply_to_a_prompt(
    reply: str, prompt: str, grader: dict[str, Any], answer: str, correct: bool | None, extracted: str | None
) -> None:
    """What a reply only repeats from its prompt is not an answer."""
    found = grade(grader, answer, reply, prompt)
    assert found.correct is correct, found
    assert extracted in (None, found.extracted)


def test_there_are_enough_replies_of_every_kind() -> None:
    assert len(REPLIES) >= 120
    assert {grader["kind"] for _, grader, _, _, _ in REPLIES} == set(KINDS)


@pytest.mark.parametrize("kind", ["magic", None, 3])
def test_an_unknown_kind_of_grader_gives_no_answer(kind: object) -> None:
    assert grade({"kind": kind}, "x", "x") == Grade(None, None, "no such grader")


@pytest.mark.parametrize(
    ("grader", "answer"),
    [
        ({"kind": "choice"}, "yes"), (YES_NO, "maybe"), ({"kind": "set"}, "a, b"), (MENU, "soup, pie"),
        (NUMBER, "many"), (NUMBER, "1/0"), ({"kind": "regex"}, "x"), ({"kind": "regex", "pattern": "("}, "x"),
        (PYTHON, "1 +"), (JSON, "{"),
    ],
)  # fmt: skip
def test_a_grader_that_cannot_judge_accepts_nothing(grader: dict[str, Any], answer: str) -> None:
    assert grade(grader, answer, "The answer is yes, or soup, or 3.").correct is not True


texts = st.text(st.characters(), max_size=300)
PIECES = [
    "so", "the answer is", "not", "no", "yes", "valid", "invalid", "or", "A", "B", "(B)", "**34**", "34", "=", "40",
    "-", "6", ",", ".", "\n", "wait", "actually", "```", "therefore", "hive", "soup",
]  # fmt: skip
phrases = st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join)
graders = st.sampled_from(
    [
        (NUMBER, "34"), (SHARE, "0.375"), (AREA, "3"), (YES_NO, "no"), (VALID, "valid"), (ABCD, "C"),
        (EXACT, "hive"), (LIKELY, "less likely"), (MENU, "soup, fish"), (TALKS, "A, C, B"),
        (WEDDING, "a wedding"), (PYTHON, "[1]"), (JSON, "[1]"),
    ]
)  # fmt: skip


@given(graders, st.one_of(texts, phrases), st.one_of(texts, phrases))
@settings(max_examples=400)
def test_no_reply_makes_it_raise(chosen: tuple[dict[str, Any], str], reply: str, prompt: str) -> None:
    grader, answer = chosen
    assert grade(grader, answer, reply + prompt, prompt) == grade(grader, answer, reply + prompt, prompt)
    found = grade(grader, answer, reply)
    assert (found.correct is None) == (found.extracted is None)
    assert found.extracted is None or len(found.extracted) <= MAX_EXTRACTED
    assert found == grade(grader, answer, reply)


HOSTILE = [
    piece * (MAX_REPLY // len(piece) + 10)
    for piece in (
        " ", "\n", "*", "**", "`", "```", "((", "[", "{", "\\boxed{", "\\frac{1}", "-", "9", "9,", "9.", "1/", "0 ",
        "one-", "(A) ", "A or ", "not a ", "no, ", "answer is ", "answer to ", "so ", "wait, ", "? ", "1. \n",
        "- \n", "soup, ", "34 = ", "34 + ", "\u00bd", "\ufdfa", "\U0001f600", "\x00", "**a** ", "I choose ", "10^",
        "3 in ", "x*",
        "hive or ", "[1,", '{"a":', "-~", "lambda:", "many say ", "although you might say ", "the obvious answer is ",
        "so 9% ", "1/4 = 5% ", "A is wrong. ", "you might think ", "from the a to the b ",
    )
]  # fmt: skip
SLOWEST = [
    (NUMBER, "34"), (SHARE, "0.375"), (ABCD, "C"), (HIVE, "hive"), (DIGITS, "1, 2"),
    (TALKS, "A, B, C"), (PYTHON, "[1]"), (JSON, "[1]"),
]  # fmt: skip
MANY_SECONDS = 20
"""Not a measure of speed: about a hundred times what a sound pattern takes on a busy machine."""


@pytest.mark.parametrize("reply", HOSTILE, ids=lambda reply: repr(reply[:10]))
def test_no_reply_takes_long(reply: str) -> None:
    """Twenty thousand characters of the worst case for each pattern: anything beyond quadratic would never end."""
    for grader, answer in SLOWEST:
        started = time.process_time()
        grade(grader, answer, reply, reply[-MAX_REPLY:] + " or not?")
        assert time.process_time() - started < MANY_SECONDS, grader["kind"]


def test_a_slow_pattern_is_abandoned() -> None:
    started = time.process_time()
    found = grade({"kind": "regex", "pattern": "(a|aa|a)+b(c|cc)+$"}, "abc", "a" * 5000 + "!")
    assert found.correct is not True
    assert time.process_time() - started < MANY_SECONDS


def test_only_the_end_of_a_long_reply_is_read() -> None:
    assert grade(NUMBER, "34", "word " * MAX_REPLY + "The answer is 34.").correct is True
    assert grade(NUMBER, "34", "The answer is 34. " + "word " * MAX_REPLY).correct is None


plain_words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)
several = st.lists(plain_words, min_size=2, max_size=6, unique_by=str.casefold)
decimals = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.decimals(-(10**6), 10**6, places=3).map(str),
    st.fractions(-(10**9), 10**9, max_denominator=999).map(lambda f: f"{f.numerator}/{f.denominator}"),
)


@given(
    st.lists(plain_words, min_size=1, max_size=5).map(" ".join),
    st.sampled_from(["", ".", "!", " .", '"']),
    st.booleans(),
)
def test_an_exact_answer_is_accepted_in_any_case(answer: str, mark: str, upper: bool) -> None:
    assert grade(EXACT, answer, answer).correct is True
    assert grade(EXACT, answer, (answer.upper() if upper else answer.lower()) + mark).correct is True


@given(decimals, st.sampled_from(["", ".", "!", " .", " km"]))
def test_a_number_is_accepted(answer: str, mark: str) -> None:
    assert grade(NUMBER, answer, answer).correct is True
    assert grade(KM, answer, answer + mark).correct is True
    assert grade(NUMBER, answer, f"The answer is {answer}{mark}").correct is True
    other = str(Fraction(answer) + 1)
    assert grade(NUMBER, other, f"The answer is {answer}{mark}").correct is False


@given(several, st.data())
def test_a_choice_is_accepted_and_no_other(options: list[str], data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(options))
    grader = {"kind": "choice", "options": options}
    for option in options:
        for form in (option, option.upper(), option.lower() + ".", f"**{option}**", f"({option})"):
            assert grade(grader, answer, form).correct is (option == answer), form


@given(several, st.data())
def test_a_set_is_accepted_in_any_order_unless_ordered(universe: list[str], data: st.DataObject) -> None:
    items = data.draw(st.lists(st.sampled_from(universe), min_size=1, unique=True))
    answer, shuffled = ", ".join(items), ", ".join(random.Random(0).sample(items, len(items)))
    grader = {"kind": "set", "universe": universe}
    assert grade(grader, answer, answer).correct is True
    assert grade(grader, answer, shuffled.upper() + ".").correct is True
    assert grade({**grader, "ordered": True}, answer, answer).correct is True
    assert grade({**grader, "ordered": True}, answer, shuffled).correct is (shuffled == answer)
    missing = [item for item in universe if item not in items]
    if missing:
        assert grade(grader, answer, f"{answer}, {missing[0]}").correct is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_data_is_accepted_however_it_is_laid_out(value: object) -> None:
    answer = json.dumps(value)
    assert grade(JSON, answer, answer).correct is True
    assert (
        grade(JSON, answer, f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```").correct
        is True
    )
    assert grade(PYTHON, repr(value), f"```python\n{value!r}\n```").correct is True
