"""Recomputes the answers of conceptual_abstraction that follow from given facts rather than from meaning."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise, permutations, product

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset(
    {
        # Which idea covers the cases is a matter of what the words mean.
        "conceptual_abstraction/oaks-and-pines",
        "conceptual_abstraction/hammer-and-saw",
        "conceptual_abstraction/banana-and-fruit",
        "conceptual_abstraction/rose-and-flower",
        "conceptual_abstraction/idea-of-bridge",
        "conceptual_abstraction/tiny-weeds",
        "conceptual_abstraction/things-to-climb",
        "conceptual_abstraction/drift-and-correction",
        "conceptual_abstraction/kept-by-use",
    }
)


def narrow_to_wide() -> tuple[str, ...]:
    """The one order in which every idea lies inside the next."""
    inside = {("poodle", "dog"), ("dog", "animal"), ("animal", "living thing")}
    ideas = ["animal", "poodle", "dog", "living thing"]
    (order,) = [o for o in permutations(ideas) if all(pair in inside for pair in pairwise(o))]
    return order


def maker_pairs() -> str:
    """Three of the four people make the thing that they are paired with."""
    made_by = {"bread": "baker", "cloth": "weaver", "jug": "potter", "hospital": "builder"}
    pairs = {"baker": "bread", "weaver": "cloth", "doctor": "hospital", "potter": "jug"}
    (odd,) = [person for person, thing in pairs.items() if made_by[thing] != person]
    return odd


def more_general() -> str:
    """The statement whose cases contain those of the other."""
    polygons = set(range(3, 30))
    cases = {"A": {4}, "B": polygons}
    return "A" if cases["A"] > cases["B"] else "B"


def hidden_idea_words() -> str:
    def same_backwards(word: str) -> bool:
        return word == word[::-1]

    assert all(map(same_backwards, ("level", "noon", "radar")))
    assert not any(map(same_backwards, ("table", "moon", "rider")))
    return "yes" if same_backwards("kayak") else "no"


def odd_number_sums() -> str:
    odd = range(1, 100, 2)
    pairs: dict[str, list[tuple[int, int]]] = {"A": [(n, n + 2) for n in odd], "B": list(product(odd, odd))}
    assert all(pair in chosen for chosen in pairs.values() for pair in [(1, 3), (3, 5), (5, 7)])
    (true_rule,) = [name for name, chosen in pairs.items() if all((a + b) % 4 == 0 for a, b in chosen)]
    return true_rule


def price_on_time() -> frozenset[str]:
    """A price on time grows with the time; late days and parked hours do so, a crossing does not."""
    charge_after: dict[str, Callable[[int], int]] = {
        "library fine": lambda days_late: days_late,
        "parking fee": lambda hours: hours,
        "bridge toll": lambda _minutes_on_the_bridge: 1,
    }
    return frozenset(name for name, charge in charge_after.items() if charge(2) > charge(1))


ANSWERS: dict[str, Callable[[], Answer]] = {
    "conceptual_abstraction/narrow-to-wide": narrow_to_wide,
    "conceptual_abstraction/maker-pairs": maker_pairs,
    "conceptual_abstraction/more-general": more_general,
    "conceptual_abstraction/hidden-idea-words": hidden_idea_words,
    "conceptual_abstraction/odd-number-sums": odd_number_sums,
    "conceptual_abstraction/price-on-time": price_on_time,
}
