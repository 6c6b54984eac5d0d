"""The families of generated prompts: graders agree with the package's scorers, and recomputed answers are the same."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from fi_store.graders import grade
from fi_store.prompts.generated import FAMILIES, generate, procedural
from fi_store.prompts.generated.judges import row, syllogism_doubt
from fi_store.prompts.generated.reasoning_gym import load_gym


@pytest.mark.parametrize("name", FAMILIES)
def test_graders_agree_with_the_package(name: str) -> None:
    """A score of 1.0 there is True here, for a prompt's own answer and for answers to other prompts of the family."""
    family = FAMILIES[name]
    taken = []
    for index, dataset, item in procedural._items(load_gym(), name, 11):
        assert item is not None
        made = procedural._prompt(name, family, index, dataset, item, 11)
        if not isinstance(made, str):
            taken.append((dataset, item, made))
        if len(taken) == 20:
            break
    wrong = 0
    for index, (dataset, item, prompt) in enumerate(taken):
        assert prompt.grader is not None
        assert prompt.answer is not None
        for step in range(6):
            other = taken[(index + step) % len(taken)][1]["answer"]
            theirs = dataset.score_answer(other, item) == 1
            assert (grade(prompt.grader, prompt.answer, other).correct is True) == theirs, (
                prompt.answer,
                other,
            )
            wrong += not theirs
    assert wrong >= 20, "nothing wrong was tried"


def _courses(text: str) -> str:
    left = set(range(int(re.findall(r"total of (\d+)", text)[0])))
    needs = [(int(one), int(first)) for one, first in re.findall(r"\((\d+), (\d+)\)", text)]
    while free := {one for one in left if not any(a == one and b in left for a, b in needs)}:
        left -= free
    return "false" if left else "true"


def _heads(text: str) -> float:
    most, n = (int(found) for found in re.findall(r"\d+", text))
    ways = range(most, n + 1) if "at least" in text else [most]
    return sum(math.comb(n, k) for k in ways) / 2**n


def _dice(text: str) -> Fraction:
    sizes, wanted = (
        [int(size) for size in re.findall(r"1d(\d+)[,.]", text)],
        int(re.findall(r"(\d+) or", text)[0]),
    )
    sums = Counter({0: 1})
    for size in sizes:
        sums = Counter({k: sum(sums[k - face] for face in range(1, size + 1)) for k in range(1, 200)})
    return Fraction(sum(count for total, count in sums.items() if total >= wanted), math.prod(sizes))


def _numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", text)]


RECOMPUTED: dict[str, Callable[[str], Any]] = {
    "gcd": lambda text: math.gcd(*_numbers(text)),
    "lcm": lambda text: math.lcm(*_numbers(text)),
    "chain_sum": lambda text: sum(
        int(found.replace(" ", "")) for found in re.findall(r"(?:[+-] )?\d+", text)
    ),
    "products": lambda text: math.prod(_numbers(text)),
    "count_primes": lambda text: sum(
        n > 1 and all(n % k for k in range(2, n)) for n in range(_numbers(text)[0], _numbers(text)[1] + 1)
    ),
    "coin_flip": _heads,
    "dice": _dice,
    "course_schedule": _courses,
    "spell_backward": lambda text: text.rpartition(" ")[2][::-1],
    "word_sequence_reversal": lambda text: ", ".join(text.rpartition(": ")[2].split(", ")[::-1]),
}


@pytest.mark.parametrize("name", RECOMPUTED)
def test_answers_are_right(name: str) -> None:
    for prompt in generate([name], 40, 3).prompts:
        answer = RECOMPUTED[name](prompt.text)
        given: Any = prompt.answer if isinstance(answer, str) else Fraction(str(prompt.answer))
        assert given == (pytest.approx(answer) if isinstance(answer, float) else answer), prompt.text


@pytest.mark.parametrize(
    ("statements", "answer", "doubt"),
    [
        (("All cats are birds", "All birds are lions", "All cats are lions"), "Yes", None),
        (("All cats are birds", "Some birds are lions", "Some cats are lions"), "No", None),
        (("All cats are birds", "Some birds are not lions", "Some cats are not lions"), "Yes", "wrong"),
        (("No cats are birds", "All lions are cats", "No lions are birds"), "No", "wrong"),
        (("All cats are birds", "All birds are lions", "Some cats are lions"), "Yes", "may be empty"),
    ],
)
def test_syllogisms_are_recomputed(statements: tuple[str, ...], answer: str, doubt: str | None) -> None:
    metadata = dict(zip(("premise1", "premise2", "conclusion"), statements, strict=True))
    found = syllogism_doubt({"answer": answer, "metadata": metadata})
    assert found is None if doubt is None else doubt in str(found)


def test_a_row_is_right_only_as_a_whole() -> None:
    answer, grader = row({"answer": "0 3 3 0"})
    for reply in ("0 3 3 0", "[0, 3, 3, 0]", "The output is 0 3 3 0.", "Output: 0, 3, 3, 0"):
        assert grade(grader, answer, reply).correct is True, reply
    for reply in ("0 3 3 0 0", "0 0 3 3 0", "The output is 0 3 3.", "0 3 30"):
        assert grade(grader, answer, reply).correct is not True, reply
