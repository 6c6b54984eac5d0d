"""Recomputes the number and letter analogies of analogical_reasoning: every rule that fits must agree."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from string import ascii_uppercase

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]
Spelling = Callable[[str], str]

# These transfer a relation between the meanings of words, which is common knowledge.
NOT_COMPUTED: frozenset[str] = frozenset(
    f"analogical_reasoning/{slug}"
    for slug in (
        "glove-and-shoe",
        "finger-and-toe",
        "thermometer-clock",
        "drought-and-dark",
        "traffic-pipe",
        "seed-and-tree",
        "castle-guards",
        "conductor-kitchen",
        "whale-lungs",
        "milk-and-honey",
        "library-parking",
        "lamb-and-puppy",
        "brush-and-saw",
        "damp-and-warm",
        "baker-and-bread",
        "maker-reversed",
        "sleep-debt",
    )
)

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
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


def shifted(word: str, first: int, growth: int) -> str:
    """Moves the first letter by `first` places and each later one by `growth` places more than the last."""
    return "".join(
        ascii_uppercase[(ascii_uppercase.index(letter) + first + growth * place) % len(ascii_uppercase)]
        for place, letter in enumerate(word)
    )


def shift(first: int, growth: int) -> Spelling:
    return lambda word: shifted(word, first, growth)


SPELLINGS: tuple[Spelling, ...] = (
    lambda word: word[::-1],
    lambda word: word + word[0],
    lambda word: word + word[-1],
    lambda word: word[0] + word,
    lambda word: word[-1] + word,
    lambda word: word[1:] + word[0],
    lambda word: word[-1] + word[1:-1] + word[0],
    lambda word: "".join(ascii_uppercase[-1 - ascii_uppercase.index(letter)] for letter in word),
    lambda word: "".join(sorted(word)),
    *(shift(first, growth) for first, growth in product(range(26), repeat=2)),
)


def spelled(examples: dict[str, str], word: str) -> str:
    """The result of every letter rule that fits the examples, for the word."""
    fitting = [rule for rule in SPELLINGS if all(rule(old) == new for old, new in examples.items())]
    (result,) = {rule(word) for rule in fitting}
    return result


def reversed_letters() -> str:
    return spelled({"KLM": "MLK"}, "PQR")


def letter_step() -> str:
    return spelled({"B": "D", "H": "J"}, "S")


def word_tails() -> str:
    return spelled({"MINT": "MINTM", "FERN": "FERNF"}, "ROSE")


def growing_shift() -> str:
    return spelled({"BED": "CGG", "CAT": "DCW"}, "HIP")


def mirror_alphabet() -> str:
    return spelled({"ACE": "ZXV", "BIG": "YRT"}, "DOT")


def number_pairs() -> int:
    """Searches the rules of the form a n^2 + b n + c with small whole numbers."""
    pairs = {3: 10, 5: 26, 6: 37}
    (value,) = {
        a * 8**2 + b * 8 + c
        for a, b, c in product(range(-12, 13), repeat=3)
        if all(a * n**2 + b * n + c == m for n, m in pairs.items())
    }
    return value


def doubled_number() -> int:
    factors = {Fraction(4, 2), Fraction(10, 5)}
    (factor,) = factors
    return int(6 * factor)


def model_mast() -> Fraction:
    return Fraction(30, 2)


def rug_numbers() -> int:
    """Tries common functions of two sides: sum, product, perimeter, difference, longer and shorter side."""
    rules: Sequence[Callable[[int, int], int]] = (
        lambda a, b: a + b,
        lambda a, b: a * b,
        lambda a, b: 2 * (a + b),
        lambda a, b: abs(a - b),
        max,
        min,
    )
    examples = {(3, 4): 12, (2, 7): 14}
    (value,) = {rule(5, 6) for rule in rules if all(rule(*sides) == n for sides, n in examples.items())}
    return value


def month_step() -> str:
    step = DAYS.index("Thursday") - DAYS.index("Monday")
    return MONTHS[MONTHS.index("March") + step]


def two_chases() -> str:
    first = {"chaser": "dog", "chased": "cat"}
    second = {"chaser": "mouse", "chased": "dog"}
    (part,) = [role for role, animal in first.items() if animal == "cat"]
    return second[part]


def compass_turn() -> str:
    compass = ("north", "east", "south", "west")
    (turn,) = {
        (compass.index(new) - compass.index(old)) % 4
        for old, new in {"north": "east", "east": "south"}.items()
    }
    reached = (compass.index("west") + turn) % 4
    return compass[(reached + 2) % 4]


def sister_machine() -> int:
    def triple(number: int) -> int:
        return 3 * number

    def add_two(number: int) -> int:
        return number + 2

    assert add_two(triple(4)) == 14
    return triple(add_two(6))


ANSWERS: dict[str, Callable[[], Answer]] = {
    "analogical_reasoning/reversed-letters": reversed_letters,
    "analogical_reasoning/letter-step": letter_step,
    "analogical_reasoning/word-tails": word_tails,
    "analogical_reasoning/growing-shift": growing_shift,
    "analogical_reasoning/mirror-alphabet": mirror_alphabet,
    "analogical_reasoning/number-pairs": number_pairs,
    "analogical_reasoning/doubled-number": doubled_number,
    "analogical_reasoning/model-mast": model_mast,
    "analogical_reasoning/rug-numbers": rug_numbers,
    "analogical_reasoning/month-step": month_step,
    "analogical_reasoning/two-chases": two_chases,
    "analogical_reasoning/compass-turn": compass_turn,
    "analogical_reasoning/sister-machine": sister_machine,
}
