"""Recomputes answers of causal_reasoning in broad.yaml with small structural models, over all their cases."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset(
    {
        # Everyday knowledge of what balloons, salt, nails and kettles do.
        "causal_reasoning/broad-sunburn",
        "causal_reasoning/broad-flying-hat",
        "causal_reasoning/broad-flat-tyre",
        "causal_reasoning/broad-lamp-switched-off",
        # Which way buckets and leaks are linked is knowledge of houses, not a computation.
        "causal_reasoning/broad-buckets-and-leaks",
    }
)


def dusk_lamps() -> str:
    """Lamps and bats both depend only on dusk; workers set the lamps while dusk is false."""

    def world(dusk: bool, lamps_set_to: bool | None = None) -> dict[str, bool]:
        return {"lamps": dusk if lamps_set_to is None else lamps_set_to, "bats": dusk}

    return "yes" if world(dusk=False, lamps_set_to=True)["bats"] else "no"


def button_or_key() -> str:
    button_is_broken = True
    opens = {
        (pressed and not button_is_broken) or key_turned
        for pressed, key_turned in product((False, True), repeat=2)
        if key_turned
    }
    return "yes" if opens == {True} else "no"


def cracked_vase() -> str:
    hours = {"heating": 11, "cat": 13}
    crack = 12
    (earlier,) = [event for event, hour in hours.items() if hour < crack]
    return earlier


def drying_paint() -> str:
    """A test is fair when its two boards differ in light alone."""
    tests = {
        "A": ({"light": "shade", "season": "winter"}, {"light": "sun", "season": "summer"}),
        "B": ({"light": "shade", "season": "one day"}, {"light": "sun", "season": "one day"}),
    }
    (fair,) = [
        name for name, (one, two) in tests.items() if {k for k in one if one[k] != two[k]} == {"light"}
    ]
    return fair


def caffeine_swap() -> str:
    """Only the caffeine acts, whichever drink contains it."""
    drinks = {"coffee": 1, "tea": 1}
    awake = {drink: caffeine >= drinks["coffee"] for drink, caffeine in drinks.items()}
    return "yes" if awake["tea"] else "no"


def rumour_loop() -> str:
    """A loop strengthens itself when the product of the signs of its arrows is positive."""
    arrows = {("rumour", "talk"): +1, ("talk", "rumour"): +1}
    sign = 1
    for effect in arrows.values():
        sign *= effect
    return "A" if sign > 0 else "B"


def hotel_soap() -> str:
    """Lets each quantity drive the other two, and keeps the driver under which the link shows the reported pattern."""
    names = ("car parks", "soap", "rooms")

    def hotels(driver: str) -> list[dict[str, int]]:
        one, two = (name for name in names if name != driver)
        cases = product(range(4), range(2), range(2))
        return [{driver: size, one: size + luck, two: size + chance} for size, luck, chance in cases]

    def linked(town: list[dict[str, int]]) -> bool:
        parks, soap = [h["car parks"] for h in town], [h["soap"] for h in town]
        return len(town) * sum(p * s for p, s in zip(parks, soap, strict=True)) != sum(parks) * sum(soap)

    def as_reported(driver: str) -> bool:
        town = hotels(driver)
        same_rooms = [[h for h in town if h["rooms"] == rooms] for rooms in {h["rooms"] for h in town}]
        return linked(town) and not any(map(linked, same_rooms))

    (driver,) = filter(as_reported, names)
    return driver


def two_sprinklers() -> str:
    """Goes through the minutes in order; a sprinkler that starts after the fire is out does not end it."""
    starts = {"first": 0, "second": 1}
    burning, ended_by = True, []
    for name in sorted(starts, key=lambda sprinkler: starts[sprinkler]):
        if burning:
            burning = False
            ended_by.append(name)
    return "both" if len(ended_by) == 2 else ended_by[0]


def trapped_guard() -> str:
    def theft_succeeds(crate_falls: bool) -> bool:
        guard_is_free = not crate_falls
        return not guard_is_free

    return "yes" if theft_succeeds(True) != theft_succeeds(False) else "no"


def cafe_staff() -> str:
    """Speed and friendliness are independent in town; hiring keeps those who have either."""
    town = list(product((False, True), repeat=2))
    staff = [(quick, friendly) for quick, friendly in town if quick or friendly]
    assert all(friendly for quick, friendly in staff if not quick)
    rates = {
        speed: Fraction(
            sum(friendly for quick, friendly in town if quick is speed),
            sum(quick is speed for quick, _friendly in town),
        )
        for speed in (False, True)
    }
    return "yes" if rates[False] > rates[True] else "no"


ANSWERS: dict[str, Callable[[], Answer]] = {
    "causal_reasoning/broad-dusk-lamps": dusk_lamps,
    "causal_reasoning/broad-button-or-key": button_or_key,
    "causal_reasoning/broad-cracked-vase": cracked_vase,
    "causal_reasoning/broad-drying-paint": drying_paint,
    "causal_reasoning/broad-caffeine-swap": caffeine_swap,
    "causal_reasoning/broad-rumour-loop": rumour_loop,
    "causal_reasoning/broad-hotel-soap": hotel_soap,
    "causal_reasoning/broad-two-sprinklers": two_sprinklers,
    "causal_reasoning/broad-trapped-guard": trapped_guard,
    "causal_reasoning/broad-cafe-staff": cafe_staff,
}
