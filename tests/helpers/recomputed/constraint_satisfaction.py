"""Recomputes the answers of constraint_satisfaction by a search over all assignments.

`only` asserts that the conditions of a prompt leave exactly one answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, pairwise, permutations, product
from typing import TypeVar

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]
T = TypeVar("T")

# A duty list is asked for, and many lists are right: duty-list has no answer. All others are computed.
NOT_COMPUTED: frozenset[str] = frozenset()


def only(found: Iterable[T]) -> T:
    """The one distinct thing found."""
    (one,) = set(found)
    return one


def rows(*names: str) -> list[tuple[str, ...]]:
    return list(permutations(names))


def three_hooks() -> str:
    return only(row[1] for row in rows("red", "blue", "green") if row[0] == "red" and row[1] != "green")


def free_on_monday() -> str:
    (day,) = {"Monday"} & {"Monday", "Friday"}
    return day


def digit_sum() -> int:
    digits = [(n, n // 10, n % 10) for n in range(10, 100)]
    return only(n for n, first, second in digits if first + second == 12 and first == 2 * second)


def row_of_four() -> str:
    return only(
        row[1]
        for row in rows("Kai", "Lou", "Max", "Noa")
        if row[0] == "Kai" and row[-1] == "Lou" and abs(row.index("Max") - row.index("Lou")) == 1
    )


def both_divisors() -> int:
    return only(n for n in range(20, 41) if n % 5 == 0 and n % 7 == 0)


def talk_slots() -> int:
    return only(
        row.index("A") + 1
        for row in rows("A", "B", "C")
        if row.index("C") < row.index("A") and row[0] != "B" and row[-1] != "B"
    )


def region_colours() -> int:
    touching = [*combinations(range(3), 2), (0, 3)]
    return min(
        len(set(colours))
        for colours in product(range(4), repeat=4)
        if all(colours[one] != colours[other] for one, other in touching)
    )


def apples_melons() -> int:
    counts = product(range(1, 13), repeat=2)
    return only(melons for apples, melons in counts if 2 * apples + 5 * melons == 12)


def trolley_load() -> int:
    boxes = (4, 6, 7, 9)
    loads = [sum(chosen) for size in range(len(boxes) + 1) for chosen in combinations(boxes, size)]
    return max(load for load in loads if load <= 12)


def common_day() -> str:
    week = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
    iris, hugo = {"Monday", "Tuesday", "Friday"}, {"Tuesday", "Thursday"}
    return only(day for day in week if day in iris and day in hugo and day != "Monday")


def bike_lock() -> int:
    codes = [(100 * a + 10 * b + c, a, b) for a, b, c in permutations((1, 2, 3))]
    return only(code for code, first, second in codes if code % 2 and code < 300 and first > second)


def three_addends() -> frozenset[str]:
    chosen = only(three for three in combinations(range(1, 6), 3) if sum(three) == 7)
    return frozenset(map(str, chosen))


def two_by_two() -> int:
    """The cells are upper left, upper right, lower left, lower right."""
    answers = []
    for grid in permutations(range(1, 5)):
        upper, lower = grid[:2], grid[2:]
        below = dict(zip(upper, lower, strict=True))
        if sum(upper) == sum(lower) == 5 and below.get(1) == 3:
            answers.append(below[4])
    return only(answers)


def two_dishes() -> frozenset[str]:
    pairs = map(frozenset, combinations(("soup", "salad", "fish", "cake"), 2))
    return only(
        pair for pair in pairs if "soup" in pair and not {"soup", "salad"} <= pair and "cake" not in pair
    )


def four_houses() -> str:
    return only(
        row[0]
        for row in rows("baker", "tailor", "smith", "cook")
        if row.index("baker") < row.index("tailor")
        and row[-1] == "smith"
        and row.index("cook") == row.index("tailor") + 1
    )


def just_above_nine() -> int:
    (number,) = [n for n in range(100) if 9 < n < 11]
    return number


def colour_with_w() -> str:
    colours = {"white", "grey", "blue"}
    (colour,) = [name for name in colours if name.startswith("w")]
    return colour


def yellow_and_sour() -> str:
    things = {"taxi": {"yellow", "loud"}, "lemon": {"yellow", "sour"}}
    (thing,) = [name for name, has in things.items() if has >= {"yellow", "sour"}]
    return thing


def cafe_menu() -> str:
    contains = {"walnut cake": {"nuts"}, "cheese pie": {"cheese"}, "plum tart": {"plums"}}
    return only(dish for dish, parts in contains.items() if not parts & {"nuts", "cheese"})


def small_pet() -> str:
    pets = {"cat": {"small", "meows", "catches mice"}, "dog": {"small", "barks"}, "hamster": {"small"}}
    (pet,) = [name for name, has in pets.items() if has >= {"small", "meows", "catches mice"}]
    return pet


def three_lockers() -> int:
    lockers = permutations((1, 2, 3))
    return only(ugo for sana, theo, ugo in lockers if theo == sana + 1 and ugo != 3)


def book_stack() -> tuple[str, ...]:
    """Each row goes from the bottom of the stack to its top."""
    return only(
        row
        for row in rows("songbook", "diary", "novel", "atlas")
        if row[0] == "atlas" and row.index("novel") == row.index("atlas") + 1 and row[-1] != "diary"
    )


def two_doors() -> int:
    paints = product(("red", "blue", "green"), repeat=2)
    return sum(front != back for front, back in paints)


def two_tents() -> str:
    people = ("Wim", "Xenia", "Yara", "Zoe")
    tents = [set(pair) for pair in combinations(people, 2) if "Wim" in pair]
    return only(only(tent - {"Wim"}) for tent in tents if "Xenia" not in tent and "Yara" not in tent)


def three_coins() -> int:
    payments = combinations_with_replacement((1, 2, 5, 10), 3)
    return only(coins.count(5) for coins in payments if sum(coins) == 11)


def meeting_hour() -> int:
    free = ((9, 12), (10, 14), (11, 13))
    return only(hour for hour in range(24) if all(start <= hour and hour + 1 <= end for start, end in free))


def neighbour_gaps() -> str:
    order = only(
        row
        for row in permutations(range(1, 5))
        if row[0] == 2 and all(abs(one - other) >= 2 for one, other in pairwise(row))
    )
    return json.dumps(order)


def full_backpack() -> int:
    things = ((6, 30), (3, 14), (4, 18), (5, 20))
    packs = [chosen for size in range(len(things) + 1) for chosen in combinations(things, size)]
    return max(sum(worth for _, worth in pack) for pack in packs if sum(kilos for kilos, _ in pack) <= 10)


def five_flags() -> str:
    return only(
        row[3]
        for row in rows("red", "white", "blue", "green", "yellow")
        if row[2] == "red"
        and row.index("white") == row.index("blue") - 1
        and row.index("green") in (0, 4)
        and row.index("yellow") < row.index("green")
    )


def letter_sum() -> int:
    return only(
        a for a, b, c in permutations(range(10), 3) if a and b and c and 11 * (a + b) == 101 * c + 10 * a
    )


def three_kits() -> frozenset[str]:
    kits = {"K": (1, 2), "L": (2, 3, 4), "M": (3, 5), "N": (4, 6), "O": (1, 5, 6)}
    return frozenset(
        only(
            chosen
            for chosen in combinations(kits, 3)
            if sorted(part for kit in chosen for part in kits[kit]) == [1, 2, 3, 4, 5, 6]
        )
    )


ANSWERS: dict[str, Callable[[], Answer]] = {
    "constraint_satisfaction/three-hooks": three_hooks,
    "constraint_satisfaction/free-on-monday": free_on_monday,
    "constraint_satisfaction/digit-sum": digit_sum,
    "constraint_satisfaction/row-of-four": row_of_four,
    "constraint_satisfaction/both-divisors": both_divisors,
    "constraint_satisfaction/talk-slots": talk_slots,
    "constraint_satisfaction/region-colours": region_colours,
    "constraint_satisfaction/apples-melons": apples_melons,
    "constraint_satisfaction/trolley-load": trolley_load,
    "constraint_satisfaction/common-day": common_day,
    "constraint_satisfaction/bike-lock": bike_lock,
    "constraint_satisfaction/three-addends": three_addends,
    "constraint_satisfaction/two-by-two": two_by_two,
    "constraint_satisfaction/two-dishes": two_dishes,
    "constraint_satisfaction/four-houses": four_houses,
    "constraint_satisfaction/just-above-nine": just_above_nine,
    "constraint_satisfaction/colour-with-w": colour_with_w,
    "constraint_satisfaction/yellow-and-sour": yellow_and_sour,
    "constraint_satisfaction/cafe-menu": cafe_menu,
    "constraint_satisfaction/small-pet": small_pet,
    "constraint_satisfaction/three-lockers": three_lockers,
    "constraint_satisfaction/book-stack": book_stack,
    "constraint_satisfaction/two-doors": two_doors,
    "constraint_satisfaction/two-tents": two_tents,
    "constraint_satisfaction/three-coins": three_coins,
    "constraint_satisfaction/meeting-hour": meeting_hour,
    "constraint_satisfaction/neighbour-gaps": neighbour_gaps,
    "constraint_satisfaction/full-backpack": full_backpack,
    "constraint_satisfaction/five-flags": five_flags,
    "constraint_satisfaction/letter-sum": letter_sum,
    "constraint_satisfaction/three-kits": three_kits,
}
