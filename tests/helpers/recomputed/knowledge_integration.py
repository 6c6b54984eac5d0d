"""Recomputes the numbers and comparisons among the answers of knowledge_integration from the facts they combine."""

from collections.abc import Callable
from fractions import Fraction

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset(
    {
        # Each rests on general knowledge alone; there is nothing to compute.
        "knowledge_integration/continent-of-paris",
        "knowledge_integration/madrid-language",
        "knowledge_integration/money-in-rome",
        "knowledge_integration/lunar-candle",
        "knowledge_integration/southern-harvest",
        "knowledge_integration/mountain-eggs",
        "knowledge_integration/alpine-shell",
        "knowledge_integration/rusting-nail",
        "knowledge_integration/tomato-soup-in-rome",
    }
)

LEGS = {"spider": 8, "horse": 4, "ant": 6}


def twice_twelve_hours() -> int:
    return 2 * 12


def tower_or_arena() -> str:
    latitudes = {"Paris": 48.9, "Rome": 41.9}
    return max(latitudes, key=lambda city: latitudes[city])


def strings_times_wheels() -> int:
    strings, wheels = {"violin": 4}, {"tricycle": 3}
    return strings["violin"] * wheels["tricycle"]


def flightless_layers() -> frozenset[str]:
    lays_eggs = {"penguin": True, "bat": False, "ostrich": True, "eagle": True}
    flies = {"penguin": False, "bat": True, "ostrich": False, "eagle": True}
    return frozenset(animal for animal in lays_eggs if lays_eggs[animal] and not flies[animal])


def date_line() -> str:
    """West of the line the calendar is a day ahead of the east."""
    weekdays = ["Sunday", "Monday", "Tuesday"]
    days_ahead = {"west": +1, "east": -1}
    return weekdays[weekdays.index("Monday") + days_ahead["west"]]


def carbon_cube() -> int:
    atomic_number, faces = {"carbon": 6}, {"cube": 6}
    return atomic_number["carbon"] * faces["cube"] - LEGS["ant"]


ANSWERS: dict[str, Callable[[], Answer]] = {
    "knowledge_integration/twice-twelve-hours": twice_twelve_hours,
    "knowledge_integration/tower-or-arena": tower_or_arena,
    "knowledge_integration/strings-times-wheels": strings_times_wheels,
    "knowledge_integration/flightless-layers": flightless_layers,
    "knowledge_integration/date-line": date_line,
    "knowledge_integration/carbon-cube": carbon_cube,
}
