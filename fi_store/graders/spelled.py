"""Reads numbers that are written in words: "thirty-four", "three quarters", "two and a half", "a dozen", "fourth"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NTH = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
]  # fmt: skip
_CARDINAL = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_ORDINAL = {word: value for value, word in enumerate(_NTH, start=1)}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4} | {
    word + plural: value for word, value in _ORDINAL.items() if value > 2 for plural in ("", "s")
}
SCALE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
"""Words that multiply the number before them, whether it is in digits or in words."""
_VALUED = {*_CARDINAL, *SCALE, *_ORDINAL, *_PARTS}
_NAMES = "|".join(sorted(_VALUED, key=len, reverse=True))
_RUN = re.compile(
    rf"\b(?:(?:minus|negative)\s)?(?:an?\s(?=hundred|thousand|million|billion|dozen|half|quarter|third))?"
    rf"(?:{_NAMES})(?:(?:\sand\sa\s|\sand\s|[\s-]|\sa\s)(?:{_NAMES}))*\b(?P<percent>\s?(?:%|percent\b|per\scent\b))?",
    re.IGNORECASE,
)
_PRONOUN_BEFORE = re.compile(
    r"\b(?:the|this|that|these|those|which|no|any|each|every|other|another|first|last|only|right|correct|wrong|for)\s$",
    re.IGNORECASE,
)
_PRONOUN_AFTER = re.compile(
    r"\s(?:of|by|another|could|can|might|must|should|way|who|that|needs)\b", re.IGNORECASE
)


class Spelled(NamedTuple):
    """A number in words: its value, whether "percent" follows, whether it is an ordinal ("third"), and its position."""

    value: Fraction
    percent: bool
    ordinal: bool
    start: int
    end: int


def spelled(text: str) -> Iterator[Spelled]:
    """The numbers in words, in order; "one" is left out where it is a pronoun."""
    for run in _RUN.finditer(text):
        words = re.findall(r"[^\W\d_]+", run[0].lower())
        if words[0] in SCALE and re.search(r"\d\s$", text[max(0, run.start() - 3) : run.start()]):
            continue  # "3 million": read with its digits
        if words[0] == "one" and len(words) == 1 and _is_pronoun(text, *run.span()):
            continue
        value, ordinal = _value([word for word in words if word in _VALUED])
        if value is not None:
            value = -value if words[0] in ("minus", "negative") else value
            yield Spelled(value, bool(run["percent"]), ordinal, *run.span())


def _is_pronoun(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 12) : start], text[end : end + 12]
    return bool(_PRONOUN_BEFORE.search(before)) or bool(_PRONOUN_AFTER.match(after))


def _value(words: list[str]) -> tuple[Fraction | None, bool]:
    """The value of consecutive number words, and whether they are an ordinal; None if they do not form a number."""
    total, current = Fraction(0), Fraction(0)
    for index, word in enumerate(words):
        if word in _CARDINAL:
            fits = current % 100 == 0 or (
                current % 10 == 0 and current % 100 >= 20 and 0 < _CARDINAL[word] < 10
            )
            if not fits:
                return None, False
            current += _CARDINAL[word]
        elif word in SCALE:
            current = max(current, Fraction(1)) * SCALE[word]
            if SCALE[word] >= 1000:
                total, current = total + current, Fraction(0)
        elif word in _PARTS and (index or word not in _ORDINAL):
            return _with_part(total + current, _PARTS[word], alone=not index), False
        else:
            return (Fraction(_ORDINAL[word]), True) if len(words) == 1 else (None, False)
    return total + current, False


def _with_part(number: Fraction, under: int, *, alone: bool) -> Fraction:
    """A number with a part: "three quarters" is a product, "two and a half" a sum, "a half" the part alone."""
    if alone:
        return Fraction(1, under)
    return number + Fraction(1, under) if under == 2 and number > 1 else number / under
