"""Compares the order in which a reply names things with the order that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from itertools import pairwise

from fi_store.graders.text import Mention

Direction = tuple[str, str]
"""The two ends of an ordered list, first to last: ("lightest", "heaviest")."""

_SCALE = r"[^\W\d_]{2,20}est|first|last|start|beginning|end|finish|top|bottom|most|least"
_FROM_TO = re.compile(
    rf"\b(?:from\s(?:the\s)?([^\W\d_]{{2,20}})(?:\s[^\W\d_]{{1,20}})?\sto\s(?:the\s)?([^\W\d_]{{2,20}})"
    rf"|({_SCALE})\sto\s(?:the\s)?({_SCALE}))\b",
    re.IGNORECASE,
)
"""From X to Y; without "from", only words of a scale are directions, as in "lightest to heaviest"."""
_USUAL: tuple[Direction, ...] = (
    ("first", "last"), ("start", "end"), ("beginning", "end"), ("start", "finish"), ("earliest", "latest"),
)  # fmt: skip
"""Directions of a list when the prompt gives none."""
_BETWEEN_ITEMS = re.compile(
    r"[\s\"')\]]{0,3}(?:,?\s?(?:and\s)?(?:then|finally|lastly|next|followed\sby)\b|,\s?and\b|,|;|\n|&|\band\b|->|→|>)"
    r"[\s\"'(\[]{0,3}(?:the\s|an?\s|finally\s|lastly\s|last\s|then\s){0,2}",
    re.IGNORECASE,
)
_REVERSING = re.compile(
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
    """How the order in which things are named relates to the order that the prompt asks for."""

    SAME = "same"
    REVERSED = "reversed"
    UNCLEAR = "unclear"


def directions(text: str, items: frozenset[str]) -> frozenset[Direction]:
    """The directions that a text gives for a list.

    `items` are the words of what may be listed: "from the house to the bakery" is a route between two of them.
    """
    return frozenset(direction for direction, _, _ in _found_directions(text, items))


def heading(before: str, items: frozenset[str]) -> str:
    """The text before a list from the last direction in the same sentence or on the line above; empty without one."""
    found = list(_found_directions(before, items, len(before) - len(re.split(r"[.!?]\s", before)[-1])))
    return before[found[-1][1] :] if found else ""


def _found_directions(
    text: str, items: frozenset[str], start: int = 0
) -> Iterator[tuple[Direction, int, int]]:
    """The directions in a text, each with its start and end."""
    for one in _FROM_TO.finditer(text, start):
        direction = ((one[1] or one[3]).casefold(), (one[2] or one[4]).casefold())
        if items.isdisjoint(direction):
            yield direction, *one.span()


def plain_list(text: str, found: Sequence[Mention]) -> Sequence[Mention]:
    """The list at the end of a text if it names everything that the text names; otherwise all mentions."""
    first = len(found) - 1
    while first > 0 and _BETWEEN_ITEMS.fullmatch(text[found[first - 1].end : found[first].start]):
        first -= 1
    last = found[first:]
    return last if {one.which for one in last} == {one.which for one in found} else found


def order_of(
    text: str, found: Sequence[Mention], requested: frozenset[Direction], items: frozenset[str]
) -> Order:
    """How the order of the mentions in a text relates to the directions that the prompt requests.

    `items` are the words of what may be listed.
    """
    forward = requested | {one for one in _USUAL if one[::-1] not in requested}
    if _contradicted(text, found, forward):
        return Order.UNCLEAR
    given, backward = directions(text, items), {one[::-1] for one in forward}
    if not given & backward:
        return Order.SAME
    return Order.UNCLEAR if given & forward else Order.REVERSED


def _contradicted(text: str, found: Sequence[Mention], forward: Collection[Direction]) -> bool:
    """Whether words such as "before it", "after", "last" and "between" contradict the order of naming."""
    if any(_REVERSING.search(text[a.end : b.start]) for a, b in pairwise(found)):
        return True
    last = len(found) - 1
    ranks = dict.fromkeys((start for start, _ in forward), 0) | dict.fromkeys(
        (end for _, end in forward), last
    )
    for rank, one in enumerate(found):
        after = _PLACED_AFTER.match(text[one.end : one.end + 60])
        before = _PLACED_BEFORE.search(text[max(0, one.start - 40) : one.start])
        words = [placed[1].casefold() for placed in (after, before) if placed is not None]
        if any(ranks.get(word, rank) != rank for word in words):
            return True
        if after is not None and words[0] in _INSIDE and rank in (0, last):
            return True
    return False
