"""Tells how the order in which a reply names things goes with the order that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import Enum
from itertools import pairwise

from fi_store.graders.text import Mention

Direction = tuple[str, str]
"""From what to what a list runs: ("lightest", "heaviest")."""

_FROM_TO = re.compile(
    r"\b(?:from\s(?:the\s)?([^\W\d_]{2,20})(?:\s[^\W\d_]{1,20})?|([^\W\d_]{2,20}))\sto\s(?:the\s)?([^\W\d_]{2,20})\b",
    re.IGNORECASE,
)
_USUAL: tuple[Direction, ...] = (
    ("first", "last"), ("start", "end"), ("beginning", "end"), ("start", "finish"), ("earliest", "latest"),
)  # fmt: skip
"""How a list runs where the prompt does not say."""
_BETWEEN_ITEMS = re.compile(
    r"[\s\"')\]]{0,3}(?:,?\s?(?:and\s)?(?:then|finally|lastly|next|followed\sby)\b|,\s?and\b|,|;|\n|&|\band\b|->|→|>)"
    r"[\s\"'(\[]{0,3}(?:the\s|an?\s|finally\s|lastly\s|last\s|then\s){0,2}",
    re.IGNORECASE,
)
_TOLD_BACK = re.compile(
    r"\bbefore\s(?:it|that|this|them|him|her|which)\b|\b(?:preceded|caused)\sby\b|\b(?:comes?|came|follow(?:s|ed)?)\sfrom\b"
    r"|\bafter\s(?:the\s|an?\s)?$|\bbehind\b|\bbetween\b|\bfollow(?:s|ed)\s(?:the\s|an?\s)?$|[,;.:]\s?(?:and\s)?before\s(?:the\s)?$",
    re.IGNORECASE,
)
_PLACED_AFTER = re.compile(
    r"[\"')\]]{0,3}\s(?:(?:is|was|comes?|goes|stands|lies|must|should|has|to|be|will|the|at|very|in)\s){0,4}([^\W\d_]+)",
    re.IGNORECASE,
)
_PLACED_BEFORE = re.compile(
    r"(?<!\bto\s)(?<!\bto\sthe\s)\b([^\W\d_]{1,20})(?:\s(?:is|was|comes?|goes|place|the|an?)){0,4}[\s:]{1,2}$",
    re.IGNORECASE,
)
_INSIDE = ("between", "middle")


class Order(Enum):
    """How the order in which things are named goes with the order that is asked for."""

    TOLD = "told"
    BACKWARDS = "backwards"
    OPEN = "open"


def directions(text: str) -> frozenset[Direction]:
    """From what to what a text says that a list runs."""
    return frozenset(((one[1] or one[2]).casefold(), one[3].casefold()) for one in _FROM_TO.finditer(text))


def heading(before: str) -> str:
    """What a text before a list says of its direction, in the same sentence or on the line above, up to the list."""
    found = list(_FROM_TO.finditer(before, len(before) - len(re.split(r"[.!?]\s", before)[-1])))
    return f"{found[-1][0]}{before[found[-1].end() :]}" if found else ""


def plain_list(text: str, found: Sequence[Mention]) -> Sequence[Mention]:
    """The list with which a text ends that names all that the text names; else all that it names."""
    first = len(found) - 1
    while first > 0 and _BETWEEN_ITEMS.fullmatch(text[found[first - 1].end : found[first].start]):
        first -= 1
    last = found[first:]
    return last if {one.which for one in last} == {one.which for one in found} else found


def order_of(text: str, found: Sequence[Mention], asked: frozenset[Direction]) -> Order:
    """How `found` in a text goes with the directions that the prompt asks for."""
    forward = asked | {one for one in _USUAL if one[::-1] not in asked}
    if _contradicted(text, found, forward):
        return Order.OPEN
    given, backward = directions(text), {one[::-1] for one in forward}
    if not given & backward:
        return Order.TOLD
    return Order.OPEN if given & forward else Order.BACKWARDS


def _contradicted(text: str, found: Sequence[Mention], forward: Collection[Direction]) -> bool:
    """Whether words such as "before it", "after", "last" and "between" give things another order than their naming."""
    if any(_TOLD_BACK.search(text[a.end : b.start]) for a, b in pairwise(found)):
        return True
    places = dict.fromkeys((start for start, _ in forward), 0) | dict.fromkeys(
        (end for _, end in forward), len(found) - 1
    )
    for place, one in enumerate(found):
        after = _PLACED_AFTER.match(text[one.end : one.end + 60])
        before = _PLACED_BEFORE.search(text[max(0, one.start - 40) : one.start])
        words = [placed[1].casefold() for placed in (after, before) if placed is not None]
        if any(places.get(word, place) != place for word in words):
            return True
        if after is not None and words[0] in _INSIDE and place in (0, len(found) - 1):
            return True
    return False
