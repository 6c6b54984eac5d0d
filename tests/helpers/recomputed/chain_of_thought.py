"""Recomputes the answers of chain_of_thought from the facts in its prompts."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import count, permutations
from typing import TypeVar

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]
T = TypeVar("T")

NOT_COMPUTED: frozenset[str] = frozenset()

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def only(values: Iterable[T]) -> T:
    """The single value; an error when there are none or several."""
    (value,) = set(values)
    return value


def pen_and_notebook() -> int:
    pen, notebook, paid = 3, 5, 10
    return paid - (pen + notebook)


def sun_and_moon() -> str:
    lux = {"moon": Fraction(1, 4), "sun": Fraction(100_000)}
    return max(lux, key=lambda light: lux[light])


def legs_of_a_table() -> int:
    has = {("table", "legs"): 4, ("bicycle", "wheels"): 2}
    return has["table", "legs"]


def baker_hours() -> str:
    opens, closes, arrival = Fraction(8), Fraction(12), Fraction(25, 2)
    return "yes" if opens <= arrival < closes else "no"


def shortest_of_three() -> str:
    """The last of every order from tall to short that agrees with both comparisons."""
    orders = permutations(("Mia", "Jan", "Ole"))
    return only(o[-1] for o in orders if o.index("Mia") < o.index("Jan") < o.index("Ole"))


def shop_at_ten() -> str:
    opens, closes, arrival = 9, 12 + 5, 10
    return "yes" if opens <= arrival < closes else "no"


def faster_runner() -> str:
    speed = {"Tim": 2, "Eva": 1}
    return max(speed, key=lambda name: speed[name])


def ten_days_ago() -> str:
    return WEEKDAYS[(WEEKDAYS.index("Wednesday") - 10) % 7]


def slow_clock() -> int:
    hours = range(6)
    return sum(2 for _hour in hours)


def attic_degrees() -> int:
    cellar = 12
    attic = cellar + 9
    return attic - 5


def aunts_age() -> int:
    return 3 * 9 + 4


def shrinking_word() -> str:
    without_first = "stone"[1:]
    return without_first[:-1]


def pear_offers() -> str:
    each = {"three": Fraction("2.40") / 3, "five": Fraction("3.50") / 5}
    return only(pack for pack in each if each[pack] == min(each.values()))


def month_after_next() -> str:
    now = only(m for m in range(12) if MONTHS[(m + 2) % 12] == "July")
    return MONTHS[(now - 1) % 12]


def lift_limit() -> str:
    return "yes" if 4 * 75 + 2 * 60 <= 400 else "no"


def cup_stack() -> int:
    heights = [10] + [2 for _cup in range(6 - 1)]
    return sum(heights)


def mothers_niece() -> str:
    """Names the relation by how many steps each is from the nearest common ancestor."""
    parent = {"me": "mother", "mother": "grandparent", "brother": "grandparent", "daughter": "brother"}

    def line(person: str) -> list[str]:
        return [person, *line(parent[person])] if person in parent else [person]

    mine, hers = line("me"), line("daughter")
    shared = next(person for person in mine if person in hers)
    steps = (mine.index(shared), hers.index(shared))
    return {(1, 1): "sister", (2, 1): "aunt", (1, 2): "niece", (2, 2): "cousin"}[steps]


def turning_north() -> str:
    compass, turn = ("north", "east", "south", "west"), {"right": 1, "left": -1}
    heading = compass.index("north")
    for side in ("right", "right", "left"):
        heading = (heading + turn[side]) % 4
    return compass[heading]


def cake_order() -> str:
    before = [("baking", "cooling"), ("heating", "baking")]
    orders = permutations(("cooling", "baking", "heating"))
    return only(o[0] for o in orders if all(o.index(a) < o.index(b) for a, b in before))


def queue_places() -> int:
    """Fifth from the front, so four stand before; ninth from the back, so eight stand behind."""
    return only(
        n for n in range(1, 101) if [place for place in range(n) if place == 5 - 1 and n - place == 9]
    )


def page_span() -> int:
    return len(range(12, 30 + 1))


def half_full_jar() -> int:
    """The jar with all its honey weighs 900, with half of it 500."""
    pairs = ((jar, 900 - jar) for jar in range(901))
    return only(jar for jar, honey in pairs if jar + Fraction(honey, 2) == 500)


def coin_mix() -> int:
    return only(fives for fives in range(8) if 2 * (7 - fives) + 5 * fives == 26)


def blink_together() -> int:
    return next(second for second in count(1) if second % 6 == 0 and second % 8 == 0)


def league_matches() -> int:
    return len([(host, guest) for host in range(5) for guest in range(5) if host != guest])


def tea_labels() -> str:
    def true_labels(tea: str) -> int:
        return sum((tea == "red", tea != "blue", tea != "red"))

    return only(tea for tea in ("red", "blue", "green") if true_labels(tea) == 1)


def clock_hands() -> Fraction:
    hour_hand, minute_hand = Fraction(7, 2) * 30, Fraction(30) * 6
    apart = abs(hour_hand - minute_hand)
    return min(apart, 360 - apart)


def number_trick() -> Fraction:
    starts = [Fraction(n, d) for n in range(-20, 21) for d in (1, 2, 3)]
    return only((2 * start + 6) / 2 - start for start in starts)


def last_digit() -> int:
    digit = 1
    for _factor in range(10):
        digit = digit * 7 % 10
    return digit


def painted_ones() -> int:
    return sum(str(locker).count("1") for locker in range(1, 30 + 1))


def left_over_one() -> int:
    return next(n for n in count(2) if all(n % group == 1 for group in (2, 3, 4)))


ANSWERS: dict[str, Callable[[], Answer]] = {
    "chain_of_thought/pen-and-notebook": pen_and_notebook,
    "chain_of_thought/sun-and-moon": sun_and_moon,
    "chain_of_thought/legs-of-a-table": legs_of_a_table,
    "chain_of_thought/baker-hours": baker_hours,
    "chain_of_thought/shortest-of-three": shortest_of_three,
    "chain_of_thought/shop-at-ten": shop_at_ten,
    "chain_of_thought/faster-runner": faster_runner,
    "chain_of_thought/ten-days-ago": ten_days_ago,
    "chain_of_thought/slow-clock": slow_clock,
    "chain_of_thought/attic-degrees": attic_degrees,
    "chain_of_thought/aunts-age": aunts_age,
    "chain_of_thought/shrinking-word": shrinking_word,
    "chain_of_thought/pear-offers": pear_offers,
    "chain_of_thought/month-after-next": month_after_next,
    "chain_of_thought/lift-limit": lift_limit,
    "chain_of_thought/cup-stack": cup_stack,
    "chain_of_thought/mothers-niece": mothers_niece,
    "chain_of_thought/turning-north": turning_north,
    "chain_of_thought/cake-order": cake_order,
    "chain_of_thought/queue-places": queue_places,
    "chain_of_thought/page-span": page_span,
    "chain_of_thought/half-full-jar": half_full_jar,
    "chain_of_thought/coin-mix": coin_mix,
    "chain_of_thought/blink-together": blink_together,
    "chain_of_thought/league-matches": league_matches,
    "chain_of_thought/tea-labels": tea_labels,
    "chain_of_thought/clock-hands": clock_hands,
    "chain_of_thought/number-trick": number_trick,
    "chain_of_thought/last-digit": last_digit,
    "chain_of_thought/painted-ones": painted_ones,
    "chain_of_thought/left-over-one": left_over_one,
}
