"""Recomputes the answers of code_understanding: the code of each prompt is written out and run."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import product

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset()


def sum_in_print() -> int:
    return 2 + 3


def age_in_json() -> int:
    record = json.loads('{"name": "Tom", "age": 30}')
    return int(record["age"])


def coat_or_hat() -> str:
    weather = "rain"
    printed = []
    if weather == "rain":
        printed.append("coat")
    else:
        printed.append("hat")
    return " ".join(printed)


def two_steps() -> int:
    steps = 5
    steps = steps + 2
    return int(steps)


def tea_and_nine() -> str:
    return str(len("tea") == 3 and 5 > 9)


def marigold_slice() -> str:
    name = "marigold"
    return name[1:4]


def range_sum() -> int:
    total = 0
    for n in range(1, 5):
        total += n
    return total


def drop_draft() -> str:
    data = json.loads('{"title": "Fog", "draft": true, "pages": [4, 9]}')
    del data["draft"]
    return json.dumps(data)


def odd_doubles() -> str:
    return repr([2 * n for n in range(6) if n % 2 == 1])


def pantry_stock() -> str:
    stock = {"tea": 4, "rice": 1}
    stock["tea"] -= 3
    stock["oats"] = 2
    return repr(stock)


def red_cups() -> int:
    base = sqlite3.connect(":memory:")
    try:
        base.execute("CREATE TABLE cups (colour TEXT, size INTEGER)")
        base.executemany("INSERT INTO cups VALUES (?, ?)", [("red", 3), ("blue", 8), ("red", 5)])
        (total,) = base.execute("SELECT SUM(size) FROM cups WHERE colour = 'red'").fetchone()
    finally:
        base.close()
    return int(total)


def two_rotas() -> str:
    morning = [1, 2]
    evening = morning
    evening.append(3)
    return repr(morning)


def halving_calls() -> int:
    def halvings(n: int) -> int:
        return 0 if n < 2 else 1 + halvings(n // 2)

    return halvings(20)


def largest_negative() -> str:
    """The one line that can be repaired by itself, so that every short list gives its largest value."""
    Start = Callable[[Sequence[int]], int]
    Walk = Callable[[Sequence[int]], Iterable[int]]
    Step = Callable[[int, int], int]

    def right(start: Start, walk: Walk, step: Step) -> bool:
        for length in (1, 2, 3):
            for values in product(range(-3, 4), repeat=length):
                best = start(values)
                for v in walk(values):
                    best = step(best, v)
                if best != max(values):
                    return False
        return True

    starts: list[Start] = [lambda values: 0, lambda values: values[0], lambda values: 1]
    walks: list[Walk] = [lambda values: values, lambda values: values[1:], sorted, reversed]
    steps: list[Step] = [max, min, lambda best, v: v, lambda best, v: best]
    assert not right(starts[0], walks[0], steps[0])
    mended = {
        "1": any(right(start, walks[0], steps[0]) for start in starts[1:]),
        "2": any(right(starts[0], walk, steps[0]) for walk in walks[1:]),
        "3": any(right(starts[0], walks[0], step) for step in steps[1:]),
    }
    (line,) = [line for line, works in mended.items() if works]
    return line


def tree_notes() -> str:
    def note(tree: str, seen: list[str] = []) -> list[str]:  # noqa: B006 - the prompt asks about this
        seen.append(tree)
        return seen

    note("oak")
    return repr(note("elm"))


def late_lambdas() -> int:
    tens = [lambda: k * 10 for k in range(3)]  # noqa: B023 - the prompt asks about this
    return tens[0]()


ANSWERS: dict[str, Callable[[], Answer]] = {
    "code_understanding/sum-in-print": sum_in_print,
    "code_understanding/age-in-json": age_in_json,
    "code_understanding/coat-or-hat": coat_or_hat,
    "code_understanding/two-steps": two_steps,
    "code_understanding/tea-and-nine": tea_and_nine,
    "code_understanding/marigold-slice": marigold_slice,
    "code_understanding/range-sum": range_sum,
    "code_understanding/drop-draft": drop_draft,
    "code_understanding/odd-doubles": odd_doubles,
    "code_understanding/pantry-stock": pantry_stock,
    "code_understanding/red-cups": red_cups,
    "code_understanding/two-rotas": two_rotas,
    "code_understanding/halving-calls": halving_calls,
    "code_understanding/largest-negative": largest_negative,
    "code_understanding/tree-notes": tree_notes,
    "code_understanding/late-lambdas": late_lambdas,
}
