"""Recomputes the answers of adversarial_reasoning, each from the facts that its trap leads away from."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import combinations, product

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset(
    {
        # Common knowledge, which the text contradicts: skies, capitals, cows, cheese.
        "adversarial_reasoning/joker-and-sky",
        "adversarial_reasoning/uncle-and-paris",
        "adversarial_reasoning/flying-cows",
        "adversarial_reasoning/cheese-moon",
    }
)


def implies(one: bool, other: bool) -> bool:
    return not one or other


def all_except_four() -> int:
    had, left = 11, 4
    return had - left


def leaves_and_lead() -> str:
    kilos = {"leaves": 2, "lead": 1}
    return max(kilos, key=lambda name: kilos[name])


def wrong_product() -> int:
    return 7 * 8


def queue_place() -> int:
    queue = list(range(1, 11))
    return queue[queue.index(3) + 1]


def radio_play() -> int:
    """All listeners hear the same minutes at the same time."""
    heard = [set(range(40)) for _ in range(6)]
    return len(set().union(*heard))


def up_and_down() -> Fraction:
    raised = 100 * (1 + Fraction(20, 100))
    return raised * (1 - Fraction(20, 100))


def bus_windows() -> int:
    aboard, stepped_out = 6, 2
    return aboard - stepped_out


def ignored_note() -> int:
    return 5 + 6


def letters_in_seven() -> int:
    return len("seven")


def double_negation() -> str:
    """Animals that cannot fly are left out; whatever is not one of them remains."""
    flies = {"eagle": True, "cow": False}
    cannot_fly = {name for name, can in flies.items() if not can}
    (animal,) = flies.keys() - cannot_fly
    return animal


def rose_argument() -> str:
    """Refuted if the premises allow something that is a rose but not a flower."""
    refuted = any(
        implies(flower, water) and implies(rose, water) and rose and not flower
        for rose, flower, water in product((False, True), repeat=3)
    )
    return "invalid" if refuted else "valid"


def rope_units() -> str:
    centimetres = {"first": 150, "second": 2 * 100}
    return max(centimetres, key=lambda name: centimetres[name])


def june_invoice() -> str:
    _, last_day = calendar.monthrange(2023, list(calendar.month_name).index("June"))
    return "yes" if last_day >= 31 else "no"


def handshakes() -> int:
    return len(list(combinations(range(4), 2)))


def hill_average() -> Fraction:
    """The road may be of any length: the average speed is the same for each."""
    speeds = {2 * Fraction(road) / (Fraction(road, 10) + Fraction(road, 30)) for road in range(1, 100)}
    (speed,) = speeds
    return speed


def brothers_apart() -> int:
    differences = {(age + 6 + 10) - (age + 10) for age in range(60)}
    (difference,) = differences
    return difference


def warm_jugs() -> Fraction:
    """A mixture has the mean warmth, each part weighted by how much of it there is."""
    mixtures = {
        Fraction(one * 20 + other * 20, one + other) for one in range(1, 10) for other in range(1, 10)
    }
    (warmth,) = mixtures
    return warmth


def nine_letters() -> str:
    assert len("nine") == 4
    return "yes" if 9 % 2 == 0 else "no"


def fence_posts() -> int:
    places = [2 * post for post in range(5)]
    return places[-1] - places[0]


def sorted_months() -> str:
    return min(("March", "January", "April"))


def fast_clock() -> str:
    shown = datetime.strptime("4:10", "%H:%M")  # noqa: DTZ007
    right = shown - timedelta(minutes=15)
    return f"{right.hour}:{right.minute:02}"


def floating_gold() -> str:
    refuted = any(
        implies(metal, floats) and implies(gold, metal) and gold and not floats
        for gold, metal, floats in product((False, True), repeat=3)
    )
    return "no" if refuted else "yes"


def coat_boast() -> Fraction:
    before, after = 80, 60
    return Fraction(before - after, before)


def two_classes() -> Fraction:
    scores = [6] * 10 + [8] * 30
    return Fraction(sum(scores), len(scores))


def before_the_rise() -> int:
    (price,) = [coins for coins in range(1, 101) if coins * (1 + Fraction(25, 100)) == 100]
    return price


def two_pizzas() -> str:
    """In squares of the radius; the factor pi is the same for both."""
    areas = {"small": 2 * Fraction(20, 2) ** 2, "large": Fraction(30, 2) ** 2}
    return max(areas, key=lambda name: areas[name])


def eight_day_week() -> int:
    return len(calendar.day_name)


ANSWERS: dict[str, Callable[[], Answer]] = {
    "adversarial_reasoning/all-except-four": all_except_four,
    "adversarial_reasoning/leaves-and-lead": leaves_and_lead,
    "adversarial_reasoning/wrong-product": wrong_product,
    "adversarial_reasoning/queue-place": queue_place,
    "adversarial_reasoning/radio-play": radio_play,
    "adversarial_reasoning/up-and-down": up_and_down,
    "adversarial_reasoning/bus-windows": bus_windows,
    "adversarial_reasoning/ignored-note": ignored_note,
    "adversarial_reasoning/letters-in-seven": letters_in_seven,
    "adversarial_reasoning/double-negation": double_negation,
    "adversarial_reasoning/rose-argument": rose_argument,
    "adversarial_reasoning/rope-units": rope_units,
    "adversarial_reasoning/june-invoice": june_invoice,
    "adversarial_reasoning/handshakes": handshakes,
    "adversarial_reasoning/hill-average": hill_average,
    "adversarial_reasoning/brothers-apart": brothers_apart,
    "adversarial_reasoning/warm-jugs": warm_jugs,
    "adversarial_reasoning/nine-letters": nine_letters,
    "adversarial_reasoning/fence-posts": fence_posts,
    "adversarial_reasoning/sorted-months": sorted_months,
    "adversarial_reasoning/fast-clock": fast_clock,
    "adversarial_reasoning/floating-gold": floating_gold,
    "adversarial_reasoning/coat-boast": coat_boast,
    "adversarial_reasoning/two-classes": two_classes,
    "adversarial_reasoning/before-the-rise": before_the_rise,
    "adversarial_reasoning/two-pizzas": two_pizzas,
    "adversarial_reasoning/eight-day-week": eight_day_week,
}
