"""Recomputes the answers of probabilistic_reasoning with exact fractions over all cases."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations, permutations, product
from math import comb
from typing import TypeVar

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]
T = TypeVar("T")

NOT_COMPUTED: frozenset[str] = frozenset()

DIE = range(1, 7)


def share(cases: Sequence[T], event: Callable[[T], bool]) -> Fraction:
    """The share of equally likely cases in which the event holds."""
    return Fraction(sum(1 for case in cases if event(case)), len(cases))


def marble_bag() -> Fraction:
    marbles = ["red"] * 3 + ["blue"] * 1
    return share(marbles, lambda marble: marble == "red")


def no_fog() -> Fraction:
    return 1 - Fraction(30, 100)


def spring_flowers() -> str:
    days_with_flowers = {"winter": 5, "spring": 80}
    return max(days_with_flowers, key=lambda season: days_with_flowers[season])


def cat_or_tiger() -> str:
    in_a_thousand_flats = {"tiger": 0, "cat": 250}
    return max(in_a_thousand_flats, key=lambda animal: in_a_thousand_flats[animal])


def dry_desert() -> str:
    rainy_days = {"rainforest": 250, "desert": 10}
    return min(rainy_days, key=lambda place: rainy_days[place])


def snow_in_canada() -> str:
    days_with_snow = {"summer": 0, "winter": 30}
    return max(days_with_snow, key=lambda season: days_with_snow[season])


def highest_roll() -> int:
    return max(DIE)


def both_heads() -> Fraction:
    return share(list(product("HT", repeat=2)), lambda coins: coins == ("H", "H"))


def even_and_high() -> int:
    return sum(1 for face in DIE if face % 2 == 0 and face > 3)


def six_tails() -> str:
    """Compares heads on toss seven, given six tails before it, with tails."""
    after = [tosses[6] for tosses in product("HT", repeat=7) if tosses[:6] == ("T",) * 6]
    heads, tails = after.count("H"), after.count("T")
    return "equally likely" if heads == tails else "more likely" if heads > tails else "less likely"


def seven_or_twelve() -> str:
    totals = [sum(faces) for faces in product(DIE, repeat=2)]
    return str(max((7, 12), key=totals.count))


def knife_or_spoon() -> Fraction:
    drawer = ["fork"] * 5 + ["knife"] * 3 + ["spoon"] * 2
    return share(drawer, lambda piece: piece in ("knife", "spoon"))


def exactly_half() -> frozenset[str]:
    events: dict[str, Callable[[int], bool]] = {
        "even": lambda face: face % 2 == 0,
        "above 4": lambda face: face > 4,
        "below 4": lambda face: face < 4,
    }
    return frozenset(name for name, event in events.items() if share(DIE, event) == Fraction(1, 2))


def sprouting_seeds() -> Fraction:
    return 40 * (1 - Fraction(1, 5))


def teacher_climber() -> str:
    """Weights the four kinds of people in many ways; whoever fits (B) always fits (A) too."""
    kinds = list(product((True, False), repeat=2))
    signs = set()
    for weights in product(range(4), repeat=4):
        a = sum(w for w, (teacher, _climbs) in zip(weights, kinds, strict=True) if teacher)
        b = sum(w for w, (teacher, climbs) in zip(weights, kinds, strict=True) if teacher and climbs)
        signs.add((a > b) - (a < b))
    assert not {1, -1} <= signs
    return "A" if 1 in signs else "B"


def raffle_value() -> Fraction:
    chance = Fraction(1, 10)
    return 20 * chance + 0 * (1 - chance)


def dry_weekend() -> Fraction:
    return (1 - Fraction(50, 100)) * (1 - Fraction(40, 100))


def umbrella_odds() -> str:
    points_lost = {"leave": Fraction(1, 5) * 10, "carry": Fraction(3)}
    return min(points_lost, key=lambda choice: points_lost[choice])


def lottery_patterns() -> str:
    """Counts the draws that give each of the two sets."""
    orderly, mixed = (1, 2, 3, 4, 5), (4, 11, 23, 30, 38)
    draws = list(combinations(range(1, 41), 5))
    return "yes" if draws.count(orderly) < draws.count(mixed) else "no"


def sorting_halls() -> Fraction:
    return share(list(product(range(10), repeat=2)), lambda halls: 0 not in halls)


def two_games() -> str:
    pays = {"A": 6 * share("HT", lambda side: side == "H"), "B": 15 * share(DIE, lambda face: face == 6)}
    return max(pays, key=lambda game: pays[game])


def calm_odds() -> Fraction:
    return share(["calm"] * 3 + ["rough"] * 2, lambda crossing: crossing == "calm")


def sock_box() -> Fraction:
    socks = ["black"] * 3 + ["white"] * 2
    draws = list(permutations(range(5), 2))
    return share(draws, lambda pair: all(socks[sock] == "black" for sock in pair))


def golden_spinner() -> Fraction:
    return share(list(product(("gold", "other"), repeat=3)), lambda spins: "gold" in spins)


def even_card() -> Fraction:
    even = [card for card in range(1, 11) if card % 2 == 0]
    return share(even, lambda card: card > 6)


def poll_sizes() -> str:
    """Compares the mean absolute error of both polls at several true shares."""

    def mean_error(voters: int, yes: int, of: int) -> Fraction:
        ways = (comb(voters, k) * yes**k * (of - yes) ** (voters - k) for k in range(voters + 1))
        return Fraction(
            sum(abs(k * of - voters * yes) * w for k, w in enumerate(ways)), voters * of ** (voters + 1)
        )

    shares = ((1, 2), (1, 4), (3, 4), (1, 10))
    further = {"smaller" if mean_error(20, *s) > mean_error(2000, *s) else "larger" for s in shares}
    (poll,) = further
    return poll


def choir_pianists() -> Fraction:
    """Singers come first in the list of 30; eight of them and six others play."""
    members = [(person < 12, person < 8 or 12 <= person < 12 + 6) for person in range(30)]
    pianists = [member for member in members if member[1]]
    return share(pianists, lambda member: member[0])


def three_free_days() -> Fraction:
    return share(list(product(range(5), repeat=3)), lambda days: len(set(days)) == 3)


def flagged_workers() -> str:
    ill = Fraction(1, 100)
    flagged_ill, flagged_healthy = ill * 1, (1 - ill) * Fraction(10, 100)
    return "yes" if flagged_ill > flagged_healthy else "no"


def green_sweets() -> Fraction:
    prior, green = Fraction(1, 2), {"one": Fraction(1), "two": Fraction(1, 2)}
    return prior * green["one"] / sum(prior * chance for chance in green.values())


def odd_coin() -> Fraction:
    coins = ("HT", "HT", "HH")
    seen = [coin for coin in coins for tosses in product(coin, repeat=2) if tosses == ("H", "H")]
    return share(seen, lambda coin: coin == "HH")


def pair_of_sixes() -> Fraction:
    reported = [faces for faces in product(DIE, repeat=2) if 6 in faces]
    return share(reported, lambda faces: faces == (6, 6))


ANSWERS: dict[str, Callable[[], Answer]] = {
    "probabilistic_reasoning/marble-bag": marble_bag,
    "probabilistic_reasoning/no-fog": no_fog,
    "probabilistic_reasoning/spring-flowers": spring_flowers,
    "probabilistic_reasoning/cat-or-tiger": cat_or_tiger,
    "probabilistic_reasoning/dry-desert": dry_desert,
    "probabilistic_reasoning/snow-in-canada": snow_in_canada,
    "probabilistic_reasoning/highest-roll": highest_roll,
    "probabilistic_reasoning/both-heads": both_heads,
    "probabilistic_reasoning/even-and-high": even_and_high,
    "probabilistic_reasoning/six-tails": six_tails,
    "probabilistic_reasoning/seven-or-twelve": seven_or_twelve,
    "probabilistic_reasoning/knife-or-spoon": knife_or_spoon,
    "probabilistic_reasoning/exactly-half": exactly_half,
    "probabilistic_reasoning/sprouting-seeds": sprouting_seeds,
    "probabilistic_reasoning/teacher-climber": teacher_climber,
    "probabilistic_reasoning/raffle-value": raffle_value,
    "probabilistic_reasoning/dry-weekend": dry_weekend,
    "probabilistic_reasoning/umbrella-odds": umbrella_odds,
    "probabilistic_reasoning/lottery-patterns": lottery_patterns,
    "probabilistic_reasoning/sorting-halls": sorting_halls,
    "probabilistic_reasoning/two-games": two_games,
    "probabilistic_reasoning/calm-odds": calm_odds,
    "probabilistic_reasoning/sock-box": sock_box,
    "probabilistic_reasoning/golden-spinner": golden_spinner,
    "probabilistic_reasoning/even-card": even_card,
    "probabilistic_reasoning/poll-sizes": poll_sizes,
    "probabilistic_reasoning/choir-pianists": choir_pianists,
    "probabilistic_reasoning/three-free-days": three_free_days,
    "probabilistic_reasoning/flagged-workers": flagged_workers,
    "probabilistic_reasoning/green-sweets": green_sweets,
    "probabilistic_reasoning/odd-coin": odd_coin,
    "probabilistic_reasoning/pair-of-sixes": pair_of_sixes,
}
