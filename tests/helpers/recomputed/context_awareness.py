"""Recomputes the answers of context_awareness that follow from an order, a date, a rule or a reference."""

from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset(
    {
        # A matter of wording: irony.
        "context_awareness/cold-noodles",
    }
)

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def moved_meeting() -> str:
    meeting = {}
    for _, day in (("planned", "Tuesday"), ("moved", "Friday")):
        meeting["day"] = day
    return meeting["day"]


def diary_tomorrow() -> str:
    return WEEKDAYS[(WEEKDAYS.index("Sunday") + 1) % 7]


def keys_in_coat() -> str:
    lies_in = {"keys": "bowl"}
    lies_in["keys"] = "coat"
    lies_in["coat"] = "car"
    place = "keys"
    while place in lies_in:
        place = lies_in[place]
    return place


def two_trains() -> int:
    who = {"my": "Hanna", "your": "Piet"}
    hours = {who["my"]: 6, who["your"]: 7}
    return hours["Piet"]


def early_closing() -> str:
    heard = {"Emil": True, "Sara": False}
    (surprised,) = [person for person, knows in heard.items() if not knows]
    return surprised


def leaps_to_inn() -> int:
    leap, lake, beyond = 2, 1, 3
    return leap * (lake + beyond)


def same_as_dina() -> str:
    ordered = {"Fritz": True, "Dina": False}
    ordered["Rosa"] = ordered["Dina"]
    return "no" if ordered["Rosa"] else "yes"


def former_and_latter() -> str:
    former, latter = ("Ira", "Noel")
    job = {former: "paint", latter: "cook"}
    (owner,) = [twin for twin in job if job[twin] == "cook"]
    return owner


def letter_of_march() -> int:
    return (date(2024, 3, 3) + timedelta(days=10)).day


def pupil_on_sunday() -> int:
    def fee(pupil: bool, sunday: bool) -> int:
        rule_3 = 4 if pupil else 9
        return rule_3 if sunday else 7

    return fee(pupil=True, sunday=True)


def salt_by_her_hand() -> str:
    """The left hand is a quarter turn from where its owner looks: west of someone who looks north."""
    looks = {"me": (0, 1), "Lotte": (0, -1)}

    def left_of(x: int, y: int) -> tuple[int, int]:
        return (-y, x)

    salt = left_of(*looks["Lotte"])
    return "left" if salt == left_of(*looks["me"]) else "right"


def cat_called_mo() -> str:
    names = {"person": "Hanna", "cat": "Mo"}
    return names["cat"]


def first_day_of_school() -> str:
    days = {"party": "Sunday", "school": "Monday"}
    return days["school"]


def pear_on_the_table() -> str:
    table = {"apple", "pear"}
    table.remove("apple")
    (left,) = table
    return left


ANSWERS: dict[str, Callable[[], Answer]] = {
    "context_awareness/moved-meeting": moved_meeting,
    "context_awareness/diary-tomorrow": diary_tomorrow,
    "context_awareness/keys-in-coat": keys_in_coat,
    "context_awareness/two-trains": two_trains,
    "context_awareness/early-closing": early_closing,
    "context_awareness/leaps-to-inn": leaps_to_inn,
    "context_awareness/same-as-dina": same_as_dina,
    "context_awareness/former-and-latter": former_and_latter,
    "context_awareness/letter-of-march": letter_of_march,
    "context_awareness/pupil-on-sunday": pupil_on_sunday,
    "context_awareness/salt-by-her-hand": salt_by_her_hand,
    "context_awareness/cat-called-mo": cat_called_mo,
    "context_awareness/first-day-of-school": first_day_of_school,
    "context_awareness/pear-on-the-table": pear_on_the_table,
}
