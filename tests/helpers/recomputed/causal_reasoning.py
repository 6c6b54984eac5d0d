"""Recomputes the answers of causal_reasoning by running small structural models with and without a change."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]
Rule = Callable[[dict[str, int]], int]

# These ask for the likelier or the everyday cause, or for a term: a matter of common knowledge or wording.
NOT_COMPUTED: frozenset[str] = frozenset(
    f"causal_reasoning/{slug}"
    for slug in (
        "frozen-road",
        "crowing-rooster",
        "scarves-and-colds",
        "clinic-visits",
        "storm-blackout",
        "ice-in-the-sun",
        "burnt-house",
        "fallen-tree",
        "soft-butter",
        "slowest-runners",
    )
)


def run(rules: dict[str, Rule], given: dict[str, int]) -> dict[str, int]:
    """Applies the rules in order; a variable in `given` is set from outside and its rule is skipped."""
    state = dict(given)
    for name, rule in rules.items():
        if name not in given:
            state[name] = rule(state)
    return state


def yes_no(holds: bool) -> str:
    return "yes" if holds else "no"


def pushed_needle() -> str:
    rules: dict[str, Rule] = {"room": lambda s: 0, "needle": lambda s: s["room"]}
    untouched, pushed = run(rules, {}), run(rules, {"needle": 1})
    return yes_no(pushed["room"] > untouched["room"])


def domino_row() -> str:
    rules: dict[str, Rule] = {
        "two": lambda s: s["one"],
        "three": lambda s: s["two"],
        "four": lambda s: s["three"],
    }
    return yes_no(run(rules, {"one": 1, "four": 0})["three"] == 1)


def moved_fern() -> str:
    """She can tell only if every story that agrees with what she saw names the same change."""
    stories = [
        (window_helps, fertiliser_helps)
        for window_helps, fertiliser_helps in product((False, True), repeat=2)
        if window_helps or fertiliser_helps
    ]
    return yes_no(len(stories) == 1)


def twin_switches() -> str:
    rules: dict[str, Rule] = {"fan": lambda s: s["left"] | s["right"]}
    actual = run(rules, {"left": 1, "right": 1})["fan"]
    without_left = run(rules, {"left": 0, "right": 1})["fan"]
    return yes_no(actual == 1 and without_left == 0)


def hard_soil() -> str:
    rules: dict[str, Rule] = {"soft": lambda s: s["water"], "roots": lambda s: s["soft"]}
    wet, dry = (run(rules, {"water": water, "soft": 0})["roots"] for water in (1, 0))
    return yes_no(wet > dry)


def match_oxygen() -> str:
    """Other things that a fire needs, such as a spark, are one variable."""
    cases = [(oxygen, bool(oxygen and spark)) for oxygen, spark in product((False, True), repeat=2)]
    necessary = all(oxygen for oxygen, burns in cases if burns)
    sufficient = all(burns for oxygen, burns in cases if oxygen)
    return {(True, False): "necessary", (False, True): "sufficient", (True, True): "both"}[
        (necessary, sufficient)
    ]


def leaking_cup() -> tuple[str, ...]:
    causes = {"stain": "leak", "leak": "crack"}
    order: list[str] = []
    waiting = ["stain", "crack", "leak"]
    while waiting:
        ready = next(event for event in waiting if causes.get(event) not in waiting)
        waiting.remove(ready)
        order.append(ready)
    return tuple(order)


def syrup_trial() -> str:
    """The trial shows an effect only if the two halves differ; they are equal at any speed."""
    effects = {syrup - water for syrup, water in ((days, days) for days in range(1, 30))}
    return yes_no(effects != {0})


def algae_shade() -> str:
    """Follows the signs of the links algae to shade, shade to warmth, warmth to algae."""
    algae_to_shade, shade_to_warmth, warmth_to_algae = 1, -1, 1
    return "promoting" if algae_to_shade * shade_to_warmth * warmth_to_algae > 0 else "limiting"


def mended_leak() -> int:
    rules: dict[str, Rule] = {
        "pipe": lambda s: 6,
        "leak": lambda s: 2,
        "gain": lambda s: s["pipe"] - s["leak"],
    }
    return run(rules, {"leak": 0})["gain"]


def struck_bell() -> str:
    rules: dict[str, Rule] = {
        "button": lambda s: 0,
        "bell": lambda s: s["button"],
        "bark": lambda s: s["bell"],
    }
    return yes_no(run(rules, {"bell": 1})["bark"] == 1)


def ices_and_napkins() -> int:
    rules: dict[str, Rule] = {"ices": lambda s: 3 * s["degrees"], "napkins": lambda s: 2 * s["ices"]}
    return run(rules, {"degrees": 4})["napkins"] - run(rules, {"degrees": 0})["napkins"]


def lemonade_bees() -> int:
    rules: dict[str, Rule] = {"lemonades": lambda s: 5 * s["sun"], "bees": lambda s: 3 * s["sun"]}
    sold = run(rules, {"sun": 0})
    given_away = run(rules, {"sun": 0, "lemonades": sold["lemonades"] + 10})
    return given_away["bees"] - sold["bees"]


def loaded_boat() -> str:
    load = 7
    for name in ("first", "second", "third"):
        load += 1
        if load > 8:
            return name
    return "none"


def compost_plots() -> Fraction:
    harvest = {0: 4, 1: 7, 2: 10}
    (per_bucket,) = {
        Fraction(harvest[more] - harvest[less], more - less)
        for less, more in product(harvest, repeat=2)
        if less < more
    }
    return per_bucket


def roof_menders() -> str:
    mended = {
        "easy": {"Ann": Fraction(9, 10), "Ben": Fraction(80, 100)},
        "hard": {"Ann": Fraction(30, 100), "Ben": Fraction(2, 10)},
    }
    (better,) = {max(rates, key=lambda name: rates[name]) for rates in mended.values()}
    return better


def mean(values: Sequence[int]) -> Fraction:
    return Fraction(sum(values), len(values))


def coffee_and_shifts() -> Fraction:
    """A firm in which nine of ten night workers and one of ten day workers drink coffee."""
    workers = [
        (night, coffee, 6 if night else 7) for night in (True, False) for coffee in [night] * 9 + [not night]
    ]

    def sleep(night: bool, coffee: bool) -> Fraction:
        return mean([hours for at_night, drinks, hours in workers if (at_night, drinks) == (night, coffee)])

    (cost,) = {sleep(night, False) - sleep(night, True) for night in (True, False)}
    return cost


def faulty_kettle() -> str:
    """The chance of a faulty kettle given a blown fuse, before and after the heater proves faulty."""
    verdicts = set()
    for kettle, heater in product([Fraction(tenths, 10) for tenths in range(1, 10)], repeat=2):
        blown = 1 - (1 - kettle) * (1 - heater)
        before = kettle / blown
        after = kettle * heater / heater
        verdicts.add("more likely" if after > before else "less likely" if after < before else "the same")
    (verdict,) = verdicts
    return verdict


def singing_club() -> str:
    """The chance of dancing well among members who sing badly, compared with that among all members."""
    verdicts = set()
    for sings, dances in product([Fraction(tenths, 10) for tenths in range(1, 10)], repeat=2):
        chance = {
            (s, d): (sings if s else 1 - sings) * (dances if d else 1 - dances)
            for s, d in product((False, True), repeat=2)
            if s or d
        }
        among_all = (chance[True, True] + chance[False, True]) / sum(chance.values())
        bad_singers = {skills: weight for skills, weight in chance.items() if not skills[0]}
        among_bad = sum(weight for skills, weight in bad_singers.items() if skills[1]) / sum(
            bad_singers.values()
        )
        verdicts.add(yes_no(among_bad > among_all))
    (verdict,) = verdicts
    return verdict


ANSWERS: dict[str, Callable[[], Answer]] = {
    "causal_reasoning/pushed-needle": pushed_needle,
    "causal_reasoning/domino-row": domino_row,
    "causal_reasoning/moved-fern": moved_fern,
    "causal_reasoning/twin-switches": twin_switches,
    "causal_reasoning/hard-soil": hard_soil,
    "causal_reasoning/match-oxygen": match_oxygen,
    "causal_reasoning/leaking-cup": leaking_cup,
    "causal_reasoning/syrup-trial": syrup_trial,
    "causal_reasoning/algae-shade": algae_shade,
    "causal_reasoning/mended-leak": mended_leak,
    "causal_reasoning/struck-bell": struck_bell,
    "causal_reasoning/ices-and-napkins": ices_and_napkins,
    "causal_reasoning/lemonade-bees": lemonade_bees,
    "causal_reasoning/loaded-boat": loaded_boat,
    "causal_reasoning/compost-plots": compost_plots,
    "causal_reasoning/roof-menders": roof_menders,
    "causal_reasoning/coffee-and-shifts": coffee_and_shifts,
    "causal_reasoning/faulty-kettle": faulty_kettle,
    "causal_reasoning/singing-club": singing_club,
}
