"""Tells how the order in which a reply names things goes with the order that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from itertools import pairwise

from fi_store.graders.text import Mention

Direction = tuple[str, str]
"""From what to what a list runs: ("lightest", "heaviest")."""

_SCALE = r"[^\W\d_]{2,20}est|first|last|start|beginning|end|finish|top|bottom|most|least"
_FROM_TO = re.compile(
    rf"\b(?:from\s(?:the\s)?([^\W\d_]{{2,20}})(?:\s[^\W\d_]{{1,20}})?\sto\s(?:the\s)?([^\W\d_]{{2,20}})"
    rf"|({_SCALE})\sto\s(?:the\s)?({_SCALE}))\b",
    re.IGNORECASE,
)
"""From one to another; without "from" only words of a scale are directions, as in "lightest to heaviest"."""
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


def directions(text: str, items: frozenset[str]) -> frozenset[Direction]:
    """From what to what a text says that a list runs; `items` are the words of what may be listed: "from the house to
    the bakery" tells of a way between two of them."""
    return frozenset(way for way, _, _ in _ways(text, items))


def heading(before: str, items: frozenset[str]) -> str:
    """What a text before a list says of its direction, in the same sentence or on the line above, up to the list."""
    found = list(_ways(before, items, len(before) - len(re.split(r"[.!?]\s", before)[-1])))
    return before[found[-1][1] :] if found else ""


def _ways(text: str, items: frozenset[str], start: int = 0) -> Iterator[tuple[Direction, int, int]]:
    """The directions that a text tells, and where."""
    for one in _FROM_TO.finditer(text, start):
        way = ((one[1] or one[3]).casefold(), (one[2] or one[4]).casefold())
        if items.isdisjoint(way):
            yield way, *one.span()


def plain_list(text: str, found: Sequence[Mention]) -> Sequence[Mention]:
    """The list with which a text ends that names all that the text names; else all that it names."""
    first = len(found) - 1
    while first > 0 and _BETWEEN_ITEMS.fullmatch(text[found[first - 1].end : found[first].start]):
        first -= 1
    last = found[first:]
    return last if {one.which for one in last} == {one.which for one in found} else found


def order_of(
    text: str, found: Sequence[Mention], asked: frozenset[Direction], items: frozenset[str]
) -> Order:
    """How `found` in a text, of what `items` are the words of, goes with the directions that the prompt asks for."""
    forward = asked | {one for one in _USUAL if one[::-1] not in asked}
    if _contradicted(text, found, forward):
        return Order.OPEN
    given, backward = directions(text, items), {one[::-1] for one in forward}
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
