"""Recomputes the answers of the counterfactual prompts in broad.yaml: each world is run with its one change."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset()

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def yes_or_no(holds: bool) -> str:
    return "yes" if holds else "no"


def wet_boy() -> str:
    def state(rains: bool) -> str:
        return "wet" if rains else "dry"

    assert state(True) == "wet"
    return state(False)


def lit_candle() -> str:
    def flame(lit: bool) -> bool:
        return lit

    assert not flame(False)
    return yes_or_no(flame(True))


def three_hands() -> int:
    hands_of_each = dict.fromkeys(("one", "another"), 3)
    return hands_of_each["one"]


def grown_up_in_spain() -> str:
    language_of = {"England": "English", "Spain": "Spanish"}
    assert language_of["England"] == "English"
    return language_of["Spain"]


def meter_rate() -> int:
    hours = 4
    return 3 * hours - 2 * hours


def two_keys() -> str:
    def opens(gold: bool, silver: bool) -> bool:
        return gold and silver

    assert not opens(gold=True, silver=False)
    return yes_or_no(opens(gold=False, silver=True))


def delayed_fair() -> str:
    return WEEKDAYS[(WEEKDAYS.index("Thursday") + 3) % 7]


def longer_job() -> int:
    assert 9 * 60 + 3 * 20 == 10 * 60
    return 9 * 60 + 20 + 35 + 20 - 10 * 60


def jam_vote() -> str:
    votes = {"fig": 8, "plum": 7, "pear": 4}
    votes["plum"] += votes.pop("pear")
    return max(votes, key=lambda jam: votes[jam])


def worse_leak() -> str:
    left = 50 - Fraction(30) * Fraction(3, 2)
    assert 50 - 30 >= 10
    return yes_or_no(left < 10)


def house_rule() -> int:
    rolls = (6, 1, 4)
    assert sum(rolls) == 11
    return sum(2 * roll if roll < 3 else roll for roll in rolls)


def hurt_favourite() -> str:
    strength = ("Dora", "Ash", "Cato")

    def final(hurt: str | None) -> str:
        def winner(a: str, b: str) -> str:
            return min(a, b, key=lambda player: (player == hurt, strength.index(player)))

        return winner(winner("Dora", "Cato"), "Ash")

    assert final("Dora") == "Ash"
    return final(None)


def tripled_rumour() -> int:
    doubled = tripled = 2
    for _ in range(3):
        doubled, tripled = doubled * 2, tripled * 3
    assert doubled == 16
    return tripled


def absent_dog() -> str:
    worlds = [
        (dog, nap, thief)
        for dog, nap, thief in product((True, False), repeat=3)
        if (not nap or dog) and (not thief or nap)
    ]
    assert (True, True, True) in worlds
    (thief_comes,) = {thief for dog, nap, thief in worlds if not dog}
    return yes_or_no(thief_comes)


def new_mower() -> Fraction:
    together, old = Fraction(1, 2), Fraction(1, 6)
    return 1 / (together - old)


ANSWERS: dict[str, Callable[[], Answer]] = {
    "counterfactual_reasoning/broad-wet-boy": wet_boy,
    "counterfactual_reasoning/broad-lit-candle": lit_candle,
    "counterfactual_reasoning/broad-three-hands": three_hands,
    "counterfactual_reasoning/broad-grown-up-in-spain": grown_up_in_spain,
    "counterfactual_reasoning/broad-meter-rate": meter_rate,
    "counterfactual_reasoning/broad-two-keys": two_keys,
    "counterfactual_reasoning/broad-delayed-fair": delayed_fair,
    "counterfactual_reasoning/broad-longer-job": longer_job,
    "counterfactual_reasoning/broad-jam-vote": jam_vote,
    "counterfactual_reasoning/broad-worse-leak": worse_leak,
    "counterfactual_reasoning/broad-house-rule": house_rule,
    "counterfactual_reasoning/broad-hurt-favourite": hurt_favourite,
    "counterfactual_reasoning/broad-tripled-rumour": tripled_rumour,
    "counterfactual_reasoning/broad-absent-dog": absent_dog,
    "counterfactual_reasoning/broad-new-mower": new_mower,
}
