"""Reads the number that a statement gives: digits, fractions, percentages and words, with signs, units and currency."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from fi_store.graders import statements as st
from fi_store.graders.spelled import SCALE, spelled
from fi_store.graders.text import Reply, denied

_PLAIN = r"(?>\d{1,3}(?:,\d{3})++(?:\.\d{1,30})?+|\d{1,30}+(?:\.\d{1,30}|,(?:\d{1,2}|\d{4,30})(?![\d,]))?+|\.\d{1,30})"
_CURRENCY = r"(?:[€£¥]|US\b|USD\b|EUR\b|GBP\b)\s?"
_DIGITS = re.compile(
    rf"""(?<![\w/])(?<!\d[.,:])(?P<sign>(?<![\w)\]%.])(?:-|\+|(?:minus|negative)\s))?(?:{_CURRENCY})?(?P<inner>-)?
        (?P<number>0,\d{{1,30}}(?![\d,])|{_PLAIN})(?![\d:]|\.\d|,\d)
        (?:(?:\s?|\sand\s|-)(?P<over>\d{{1,9}})/(?P<under>\d{{1,9}})(?![\d/])|\s?/\s?(?P<below>\d{{1,30}})(?![\d/]|\.\d))?
        (?:\s?[x×*]\s?10\s?\^\s?[{{(]?(?P<power>-?\d{{1,2}})[}})]?|e(?P<exponent>[+-]?\d{{1,2}})(?!\w))?
        (?:\s(?P<scale>hundred|thousand|million|billion|dozen)\b)?
        (?P<ordinal>(?:st|nd|rd|th)\b)?
        (?P<percent>\s?(?:%|percent\b|per\scent\b|pct\b))?""",
    re.IGNORECASE | re.VERBOSE,
)
_COUNTED = re.compile(
    r"\b(?:steps?|premises?|cases?|examples?|parts?|figures?|equations?|rules?|questions?|scenarios?|method)\s#?\d{1,3}\b",
    re.IGNORECASE,
)
_OUT_OF = re.compile(r"[\s-](?:out[\s-]of|in)[\s-](?:every\s)?", re.IGNORECASE)
_EVEN_CHANCE = re.compile(r"(?<![\w.,/-])50\s?[/-]\s?50(?![\w/-]|[.,]\d)")
_OPERATOR = re.compile(
    r"\s?(?:[^\W\d]{1,15}\s){0,2}(?:(?:[-+×*÷/]|(?<![^\W\d])x)\s?"
    r"|(?:times|plus|minus|divided by|multiplied by|less)\s)[(\s]{0,2}$",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"(?:=|≈|\bequals?\b|\bmakes\b|\bgives\b)\s?(?:about\s|only\s)?$", re.IGNORECASE)
_RANGE = re.compile(
    r"\s?(?:[^\W\d]{1,15}\s)?(?:or|to|-|through)\s?(?:perhaps\s|maybe\s|even\s|about\s)?", re.IGNORECASE
)
_AND = re.compile(r"\s?(?:,|and|,\sand)\s?", re.IGNORECASE)
_RESULT_CUE = re.compile(
    r"(?:=|≈|\b(?:is|are|was|were|be|equals|leaves|left with|remains?|makes|gives|get|total of|total|have|has|had"
    r"|costs?|needs?|takes?|contains|becomes|only|of (?:which|them|these|those)))\s"
    r"(?:(?:exactly|about|only|just|a total of|now|still|at least|at)\s)?$",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\b(?:because|since|given that|due to|as there)\b|(?<![-+×*÷/=])(?<![-+×*÷/=]\s)\((?=[^)\n]{0,80}[=+×*÷])",
    re.IGNORECASE,
)
_CHECK = re.compile(r"\b(?:check|verif\w+|double-check)\b", re.IGNORECASE)
_NONE = re.compile(r"\W{0,3}(?:none|nothing|nil)\b", re.IGNORECASE)
_OF = re.compile(r"\sof\b", re.IGNORECASE)
_OF_THINGS = re.compile(r"\s?[^\W\d_]")
_PERCENT = ("%", "percent", "per cent", "pct")
DIRECT = 8
"""A statement of up to this many words may open with its answer even if it has several numbers."""


class Number(NamedTuple):
    """A number in a text: its value, whether a percent sign or word follows it, its text and its position."""

    value: Fraction
    percent: bool
    text: str
    start: int
    end: int
    ordinal: bool = False


def numbers(text: str, *, proportions: bool = False) -> list[Number]:
    """Every number that a text names, in order; "3 in 8" is one number with `proportions`."""
    found = [*_from_digits(text), *_from_words(text)]
    if proportions:
        found = _with_shares(text, sorted(found, key=lambda one: one.start))
    skipped = [counted.span() for counted in _COUNTED.finditer(text)]
    kept = [one for one in found if not any(start <= one.start < end for start, end in skipped)]
    return sorted(kept, key=lambda one: one.start)


def _with_shares(text: str, found: list[Number]) -> list[Number]:
    """The numbers, with "3 in 8" and "one out of four" each merged into one."""
    merged: list[Number] = []
    for one in found:
        part = merged[-1] if merged else None
        if (
            part is not None
            and _OUT_OF.fullmatch(text[part.end : one.start])
            and 0 <= part.value <= one.value != 0
            and part.value.denominator == one.value.denominator == 1
        ):
            share = text[part.start : one.end].strip()
            merged[-1] = Number(part.value / one.value, False, share, part.start, one.end)
        else:
            merged.append(one)
    return merged


def _from_digits(text: str) -> Iterator[Number]:
    for one in _DIGITS.finditer(text):
        written = one["number"]
        if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", written) and not written.startswith("0,"):
            written = written.replace(",", "")
        value = Fraction(written.replace(",", "."))
        if one["over"]:
            if not int(one["under"]):
                continue
            value += Fraction(int(one["over"]), int(one["under"]))
        elif one["below"]:
            if not int(one["below"]):
                continue
            value /= int(one["below"])
        value *= Fraction(10) ** int(one["power"] or one["exponent"] or 0)
        value *= SCALE.get((one["scale"] or "").lower(), 1)
        sign = (one["sign"] or one["inner"] or "").strip().lower()
        yield Number(
            -value if sign in ("-", "minus", "negative") else value,
            bool(one["percent"]), one[0].strip(), one.start(), one.end(), bool(one["ordinal"]),
        )  # fmt: skip


def _from_words(text: str) -> Iterator[Number]:
    for one in spelled(text):
        yield Number(
            one.value, one.percent, text[one.start : one.end].strip(), one.start, one.end, one.ordinal
        )


def plain_number(text: str) -> Fraction | None:
    """A number as a prompt file writes it: a plain decimal or a fraction; None for anything else."""
    if not re.fullmatch(r"-?\d{1,30}(?:\.\d{1,30}|/\d{1,30})?", text.strip()):
        return None
    try:
        return Fraction(text.strip())
    except ZeroDivisionError:
        return None


def find_number(segment: Reply, grader: Mapping[str, Any]) -> st.Value[st.Found]:
    """The number that a reply (or the part of one after a correction) gives as its answer."""
    share = bool(grader.get("percent"))
    unit = str(grader.get("unit") or "")
    if unit and any(character.isdigit() for character in unit):
        segment = Reply(segment.text.replace(unit, " " * len(unit)), segment.bold)
    if share:
        text = _EVEN_CHANCE.sub(lambda even: "1/2".ljust(len(even[0])), segment.text)
        segment = Reply(text, segment.bold)

    asserted = st.asserted(segment)
    results = [one for one in asserted if re.search(r"=\s?-?[\d.,/€£]+", one.text)]
    stated, bold = st.stated(segment), st.in_bold(segment)
    led_to = sorted([*st.concluded(segment), *results], key=lambda one: one.start)

    kind = Kind.SHARE if share else Kind.PERCENT if unit.strip().casefold() in _PERCENT else Kind.PLAIN
    last = max((one.start for one in numbers(segment.text, proportions=share) if kind.fits(one)), default=-1)
    others = [one for one in st.concluded(segment) if one.start > last]

    def tiers(wanted: _Wanted) -> list[tuple[Sequence[st.Statement], Callable[[str], st.Value[object]]]]:
        direct, flowing = partial(_direct, wanted=wanted), partial(_flowing, wanted=wanted)
        return [(stated, direct), (led_to, flowing), (bold, direct), (asserted, flowing)]

    fitting, any_kind = tiers(_Wanted(kind, only=True)), tiers(_Wanted(kind, only=False))
    return st.settle(
        [fitting[0], any_kind[0], (others, partial(_alone, kind=kind)), *fitting[1:], *any_kind[1:]]
    )


class Kind(Enum):
    """What is asked for: a proportion, a percentage, or another figure."""

    SHARE = "share"
    PERCENT = "percent"
    PLAIN = "plain"

    def fits(self, one: Number) -> bool:
        """Whether a number is of this kind as it is written; "one" is no proportion, since it may be a pronoun."""
        if self is Kind.SHARE:
            return one.percent or (0 <= one.value <= 1 and one.text.casefold() != "one")
        return one.percent is (self is Kind.PERCENT)


class _Wanted(NamedTuple):
    """Which figures are read: those of a kind or, unless `only`, all figures of a statement that has none of that kind.

    A plain 1 is a proportion only as the last figure; before other figures it counts things.
    """

    kind: Kind
    only: bool

    def of(self, found: list[Number]) -> list[Number]:
        fitting = [
            one
            for one in found
            if self.kind.fits(one)
            and (self.kind is not Kind.SHARE or one.percent or one.value < 1 or one is found[-1])
        ]
        return fitting if fitting or self.only else found


def _alone(text: str, kind: Kind) -> st.Value[object]:
    """The figure of another kind that a statement leads up to.

    None if it says how many things there are, or what share of them: that is mentioned along with the answer.
    """
    found = _flowing(text, _Wanted(kind, only=False))
    if not isinstance(found, Number):
        return found
    qualified = _OF if found.percent else _OF_THINGS
    return None if qualified.match(text, found.end) else found


def _direct(text: str, wanted: _Wanted) -> st.Value[object]:
    """The number that a statement opens with, or the result of the calculation that it opens with."""
    cut = _REASON.search(text)
    clause = text[: cut.start()] if cut is not None else text
    everything = _not_denied(clause, wanted.kind is Kind.SHARE)
    if not everything:
        return Number(Fraction(0), False, "0", 0, 1) if _NONE.match(clause) else None
    found = wanted.of(everything)
    if not found:
        return None
    found = [one for one in found if not one.ordinal] or found
    if len(found) == 1:
        return found[0]
    result = _result(clause, found)
    if result is not None:
        return result
    first, second = found[:2]
    lead = len(clause[: first.start].split())
    if _is_range(clause, first, second) or (lead < 2 and _AND.fullmatch(clause[first.end : second.start])):
        return st.UNDECIDED
    if _OPERATOR.search(clause[first.end : second.start]) or _AND.fullmatch(clause[first.end : second.start]):
        return None
    return first if len(clause.split()) <= DIRECT and lead <= DIRECT // 2 else None


def _flowing(text: str, wanted: _Wanted) -> st.Value[object]:
    """The number that a sentence leads up to: its last result, else the last after a cue ("is"), else its last."""
    if _CHECK.search(text):
        return None
    cut = _REASON.search(text)
    clause = text[: cut.start()] if cut is not None and numbers(text[: cut.start()]) else text
    everything = _not_denied(clause, wanted.kind is Kind.SHARE)
    found = [one for one in everything if not one.ordinal]
    if not found:
        return everything[-1] if everything and len(clause.split()) <= DIRECT else None
    fitting = wanted.of(found)
    result = _result(clause, fitting)
    if result is None and wanted.kind is not Kind.SHARE:
        result = _worked_out(clause, found, fitting)
    if result is not None:
        return result
    starts = {one.start for one in fitting}
    free = [
        one
        for index, one in enumerate(found)
        if one.start in starts and not _in_calculation(clause, found, index)
    ]
    if not free:
        return None
    after_cue = [one for one in free if _RESULT_CUE.search(clause[max(0, one.start - 40) : one.start])]
    chosen = (after_cue or free)[-1]
    if any(_is_range(clause, a, b) for a, b in pairwise(found) if chosen in (a, b)):
        return st.UNDECIDED
    return chosen


def _worked_out(clause: str, found: list[Number], fitting: list[Number]) -> Number | None:
    """The result, of another kind, of a calculation with figures that fit: "10/40 = 25%"."""
    result = _result(clause, found)
    if result is None or not fitting:
        return None
    starts = {one.start for one in fitting}
    operands = ((index, one) for index, one in enumerate(found) if one.start in starts)
    if all("/" in one.text or _in_calculation(clause, found, index) for index, one in operands):
        return result
    return None


def _not_denied(clause: str, share: bool) -> list[Number]:
    """The numbers of a clause without those that it denies: "not 40", "40 is wrong"."""
    found = numbers(clause, proportions=share)
    return [one for one in found if not denied(clause, one.start, one.end)]


def _in_calculation(clause: str, found: list[Number], index: int) -> bool:
    """Whether a number is part of a calculation ("5 x 8", or "40 -" at the end) and so not an answer by itself."""
    one = found[index]
    before = found[index - 1].end if index else None
    after = found[index + 1].start if index + 1 < len(found) else None
    if before is not None and _OPERATOR.search(clause[before : one.start]):
        return True
    if after is None:
        return bool(re.match(r"\s?[-+×x*÷/=]\W{0,3}$", clause[one.end :]))
    return bool(_OPERATOR.search(clause[one.end : after]))


def _is_range(clause: str, first: Number, second: Number) -> bool:
    """Whether two numbers are a range or alternatives: "30 or 40", "30 to 40", "between 30 and 40"."""
    between = clause[first.end : second.start]
    if _RANGE.fullmatch(between):
        return True
    return between.strip() == "and" and clause[: first.start].rstrip().lower().endswith("between")


def _result(clause: str, found: list[Number]) -> Number | None:
    """The number after the last equals sign, unless the calculation continues there."""
    for index in range(len(found) - 1, -1, -1):
        one = found[index]
        if not _EQUALS.search(clause[max(0, one.start - 20) : one.start]):
            continue
        following = found[index + 1].start if index + 1 < len(found) else len(clause)
        rest = clause[one.end : following]
        if _OPERATOR.search(rest) or re.match(r"\s?[-+×*÷/]\s?\d?", rest):
            defined = index == 1 and re.fullmatch(r"\D{0,3}=\D{0,3}", clause[found[0].end : one.start])
            return found[0] if defined else None
        return one
    return None


def equals(found: Number, answer: str, grader: Mapping[str, Any]) -> bool:
    """Whether a number that was read is the answer, within the tolerance.

    With `percent` the answer is a proportion: a percentage is divided by 100, and so is a bare number above 1 if the
    answer is at most 1.
    """
    right = plain_number(answer)
    if right is None:
        return False
    value = found.value
    if grader.get("percent") and (found.percent or (abs(value) > 1 >= abs(right))):
        value /= 100
    return abs(value - right) <= Fraction(str(grader.get("tolerance", 0)))
