"""Recomputes the answers of emergent_abilities by applying the rule that each prompt sets or shows."""

import json
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import permutations, product

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset(
    {
        # Which label suits a word that was not shown is known from what the words mean.
        "emergent_abilities/labels-by-example",
        "emergent_abilities/banana-label",
        "emergent_abilities/labels-with-terrible-food",
    }
)

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def blim_door() -> str:
    meaning = {"blim": "open"}
    return meaning["blim"]


def mixed_letters() -> str:
    """Of the things that show the time, the one that uses exactly these letters."""
    letters = sorted("KCOLC".lower())
    shows_time = ["watch", "clock", "timer", "sundial", "phone", "hourglass"]
    (name,) = [word for word in shows_time if sorted(word) == letters]
    return name


def final_letters() -> str:
    return "".join(word[-1] for word in ("crab", "piano", "fox"))


def squares_literal() -> str:
    return repr([number**2 for number in (1, 2, 3)])


def language_vok() -> str:
    """The one assignment of meanings to words that explains all three phrases."""
    phrases = {("mi", "tula"): "red house", ("mi", "pesh"): "red boat", ("so", "pesh"): "blue boat"}
    words, meanings = ["mi", "so", "tula", "pesh"], ["red", "blue", "house", "boat"]
    fits = []
    for order in permutations(meanings):
        meaning = dict(zip(words, order, strict=True))
        if all(f"{meaning[one]} {meaning[two]}" == phrase for (one, two), phrase in phrases.items()):
            fits.append(meaning)
    (meaning,) = fits
    (said,) = [(a, b) for a, b in product(words, repeat=2) if f"{meaning[a]} {meaning[b]}" == "blue house"]
    return " ".join(said)


def roman_sum() -> int:
    worth = {"I": 1, "V": 5, "X": 10}

    def value(numeral: str) -> int:
        signs = [worth[sign] for sign in numeral]
        return sum(-one if one < two else one for one, two in zip(signs, [*signs[1:], 0], strict=True))

    return value("XIV") + value("IX")


def swapped_labels() -> str:
    """That praise of a cake is a kind remark is the only thing taken as known."""
    label = {"kind": "minus", "rude": "plus"}
    return label["kind"]


def json_record() -> str:
    sentence = "Ruth is 41 years old."
    found = re.match(r"(\w+) is (\d+) years old", sentence)
    assert found is not None
    return json.dumps({"name": found[1], "age": int(found[2])})


def next_letter_code() -> str:
    def shifted(word: str) -> str:
        return "".join(ALPHABET[(ALPHABET.index(letter) + 1) % 26] for letter in word)

    assert shifted("cab") == "dbc"
    return shifted("sun")


def thirteen_in_binary() -> str:
    number, digits = 13, ""
    while number:
        number, bit = divmod(number, 2)
        digits = str(bit) + digits
    return digits


def hidden_count() -> int:
    """Of several rules, those that fit all four examples; they agree on the fifth word."""
    rules: list[Callable[[str], int]] = [
        len,
        lambda word: len(re.findall("[aeiou]", word)),
        lambda word: len(set(re.findall("[aeiou]", word))),
        lambda word: len(re.findall("[aeiou]+", word)),
        lambda word: len(re.findall("[^aeiou]", word)),
    ]
    examples = {"river": 2, "banana": 3, "bread": 1, "lemon": 2}
    fitting = [rule for rule in rules if all(rule(word) == count for word, count in examples.items())]
    (count,) = {rule("queen") for rule in fitting}
    return count


def python_expression() -> int:
    return sorted([3, 1, 2])[-1] + len("tea")


def hash_operator() -> int:
    def hash_sign(a: int, b: int) -> int:
        return a * b - min(a, b)

    return hash_sign(hash_sign(2, 5), 3)


ANSWERS: dict[str, Callable[[], Answer]] = {
    "emergent_abilities/blim-door": blim_door,
    "emergent_abilities/mixed-letters": mixed_letters,
    "emergent_abilities/final-letters": final_letters,
    "emergent_abilities/squares-literal": squares_literal,
    "emergent_abilities/language-vok": language_vok,
    "emergent_abilities/roman-sum": roman_sum,
    "emergent_abilities/swapped-labels": swapped_labels,
    "emergent_abilities/json-record": json_record,
    "emergent_abilities/next-letter-code": next_letter_code,
    "emergent_abilities/thirteen-in-binary": thirteen_in_binary,
    "emergent_abilities/hidden-count": hidden_count,
    "emergent_abilities/python-expression": python_expression,
    "emergent_abilities/hash-operator": hash_operator,
}
