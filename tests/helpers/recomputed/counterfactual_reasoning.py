"""Recomputes the answers of counterfactual_reasoning by running what happened and what was imagined."""

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

# These rest on common knowledge of tides, wings and colors.
NOT_COMPUTED: frozenset[str] = frozenset(
    f"counterfactual_reasoning/{slug}"
    for slug in ("moonless-earth", "purple-sky", "people-with-wings", "blue-leaves")
)

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def yes_no(holds: bool) -> str:
    return "yes" if holds else "no"


def silent_alarm() -> str:
    def catches(alarm_rings: bool) -> bool:
        overslept = not alarm_rings
        return not overslept

    assert not catches(False)
    return yes_no(catches(True))


def cat_and_glass() -> str:
    def falls(cat_outside: bool) -> bool:
        cat_jumps = not cat_outside
        other_causes = False
        return cat_jumps or other_causes

    assert falls(False)
    return yes_no(falls(True))


def backup_pump() -> str:
    def dry(main_works: bool) -> bool:
        backup_runs = not main_works
        return main_works or backup_runs

    assert dry(False)
    return yes_no(dry(True))


def one_vote() -> str:
    votes = [True] * 6 + [False] * 4

    def passes(ballots: list[bool]) -> bool:
        return ballots.count(True) > ballots.count(False)

    assert passes(votes)
    changed = [False, *votes[1:]]
    return yes_no(passes(changed))


def earlier_hike() -> int:
    walk = 13 - 8
    return 12 - (6 + walk)


def flood_and_fire() -> str:
    def survives(flood: bool, fire: bool) -> bool:
        return not (flood or fire)

    assert not survives(flood=True, fire=True)
    return yes_no(survives(flood=False, fire=True))


def closed_bridge() -> str:
    leads_to = {"left": "bridge", "right": "bridge"}
    closed = {"bridge"}
    assert leads_to["left"] in closed
    return yes_no(leads_to["right"] not in closed)


def struck_post() -> str:
    own, other = 2 + 1, 3
    return "won" if own > other else "lost" if own < other else "drawn"


def dropped_egg() -> int:
    def whole(dropped: int) -> int:
        return 6 - dropped

    assert whole(1) < whole(0)
    return whole(0)


def split_bill() -> Fraction:
    return Fraction(60, 4 + 1)


def fourth_place() -> int:
    order = ["first runner", "second runner", "third runner", "Lea"]
    assert order.index("Lea") + 1 == 4
    remaining = [runner for runner in order if runner != order[1]]
    return remaining.index("Lea") + 1


def shifted_day() -> str:
    today = DAYS.index("Tuesday") + 1
    return DAYS[(today + 2) % len(DAYS)]


def lamp_presses() -> str:
    lit = True
    for _ in range(3):
        lit = not lit
    return "lit" if lit else "dark"


def later_candle() -> int:
    at_lighting = 10 + 2 * (21 - 18)
    return at_lighting - 2 * (21 - 19)


def late_taxi() -> str:
    departure, arrival = 9 * 60, 9 * 60 + 10
    assert arrival > departure
    return yes_no(arrival - 5 <= departure)


def misprinted_label() -> int:
    """The label is set from outside; the weight comes before it and stays."""

    def wheel(misprint: int | None) -> dict[str, int]:
        weight = 3
        label = 2 * weight if misprint is None else misprint
        return {"weight": weight, "label": label}

    assert wheel(None)["label"] == 6
    return wheel(8)["weight"]


def swapped_payments() -> int:
    paid = {"heads": 3, "tails": 1}
    (fallen,) = [side for side, euros in paid.items() if euros == 1]
    swapped = {"heads": paid["tails"], "tails": paid["heads"]}
    return swapped[fallen]


def watered_plant() -> int:
    soil = 11 - 2 * 3
    return soil + 2 * 5


def blown_fuse() -> str:
    def sounds(smoke: bool, steam: bool, fuse_holds: bool) -> bool:
        trips = smoke or steam
        return trips and fuse_holds

    assert not sounds(smoke=False, steam=True, fuse_holds=False)
    return yes_no(sounds(smoke=False, steam=False, fuse_holds=True))


def passed_coins() -> Fraction:
    def reaches_cy(kept_by_ava: Fraction) -> Fraction:
        to_bo = 24 * (1 - kept_by_ava)
        return to_bo * Fraction(1, 2)

    return reaches_cy(Fraction(0)) - reaches_cy(Fraction(1, 3))


def jammed_glass() -> str:
    def goes_out(pressed: bool, jammed_open: bool) -> bool:
        fan_runs = pressed
        glass_closed = pressed and not jammed_open
        return fan_runs and not glass_closed

    assert not goes_out(pressed=True, jammed_open=False)
    return yes_no(goes_out(pressed=True, jammed_open=True))


def silent_sensors() -> int:
    fired = frozenset({"first", "second", "third", "fourth"})

    def rings(sensors: frozenset[str]) -> bool:
        return len(sensors) >= 3

    assert rings(fired)
    return min(
        size
        for size in range(len(fired) + 1)
        for silent in combinations(sorted(fired), size)
        if not rings(fired - set(silent))
    )


def left_track() -> int:
    departure = 20 - 12
    return departure + 8 + 6


def ten_legged_fly() -> int:
    legs_of_every_insect = 10
    legs = dict.fromkeys(("ant", "bee", "fly"), legs_of_every_insect)
    return legs["fly"]


def lamp_switched_on() -> str:
    def light(switched_on: bool) -> bool:
        return switched_on

    assert not light(False)
    return yes_no(light(True))


ANSWERS: dict[str, Callable[[], Answer]] = {
    "counterfactual_reasoning/silent-alarm": silent_alarm,
    "counterfactual_reasoning/cat-and-glass": cat_and_glass,
    "counterfactual_reasoning/backup-pump": backup_pump,
    "counterfactual_reasoning/one-vote": one_vote,
    "counterfactual_reasoning/earlier-hike": earlier_hike,
    "counterfactual_reasoning/flood-and-fire": flood_and_fire,
    "counterfactual_reasoning/closed-bridge": closed_bridge,
    "counterfactual_reasoning/struck-post": struck_post,
    "counterfactual_reasoning/dropped-egg": dropped_egg,
    "counterfactual_reasoning/split-bill": split_bill,
    "counterfactual_reasoning/fourth-place": fourth_place,
    "counterfactual_reasoning/shifted-day": shifted_day,
    "counterfactual_reasoning/lamp-presses": lamp_presses,
    "counterfactual_reasoning/later-candle": later_candle,
    "counterfactual_reasoning/late-taxi": late_taxi,
    "counterfactual_reasoning/misprinted-label": misprinted_label,
    "counterfactual_reasoning/swapped-payments": swapped_payments,
    "counterfactual_reasoning/watered-plant": watered_plant,
    "counterfactual_reasoning/blown-fuse": blown_fuse,
    "counterfactual_reasoning/passed-coins": passed_coins,
    "counterfactual_reasoning/jammed-glass": jammed_glass,
    "counterfactual_reasoning/silent-sensors": silent_sensors,
    "counterfactual_reasoning/left-track": left_track,
    "counterfactual_reasoning/ten-legged-fly": ten_legged_fly,
    "counterfactual_reasoning/lamp-switched-on": lamp_switched_on,
}
