"""Reads which items of a known list a reply names, and in which order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from fi_store.graders import statements as st
from fi_store.graders.order import Direction, Order, heading, order_of, plain_list
from fi_store.graders.text import Mention, Reply, bare_mentions, denied, mentions, phrase, sentences

_BETWEEN_ITEMS = re.compile(r"\s?(?:,\s?and\b|,|;|\n|&|\band\b|->|→|>)\s?", re.IGNORECASE)
_OR = re.compile(r"[\s\"')\]]{0,3},?\s?\bor\b\s?(?:the\s|an?\s)?[\"'(\[]{0,3}", re.IGNORECASE)
_LEFT_OUT = re.compile(
    r"[\"')\]]{0,3}\s(?:(?:does|do|will|may)\s?(?:not|n't)|(?:doesn't|don't|won't)|stays?\s(?:at\s)?(?:home|away|out)"
    r"|(?:is|are|must\sbe|stays?)\s(?:left\sout|forbidden|excluded|ruled\sout))\b",
    re.IGNORECASE,
)
_REASON = re.compile(r",?\s(?:because|since)\b", re.IGNORECASE)
_LIST_LINE = 8
"""A line of up to this many words can be an item of a list."""
_HEADING = 120
"""Characters before a list that are searched for its direction."""


def whole_set(text: str, universe: Sequence[str]) -> tuple[int, ...] | None:
    """The items of a text that lists items and nothing else, with commas as in a prompt file or in another way."""
    known = {phrase(item): index for index, item in enumerate(universe)}
    for between in (",", _BETWEEN_ITEMS):
        items = [item for piece in re.split(between, text) if (item := phrase(piece))]
        found = [known[item] for item in items if item in known]
        if found and len(found) == len(items):
            return tuple(found)
    return None


def find_set(
    segment: Reply, universe: Sequence[str], requested: frozenset[Direction] | None
) -> st.Value[st.Found]:
    """The items (indices into `universe`) that a reply gives as its answer, in the order in which it names them.

    If the order counts, `requested` holds the directions that the prompt asks for, and a list that runs the other way
    is reversed.
    """
    known = [phrase(item) for item in universe]
    items = frozenset(word for one in known for word in one)

    def read(text: str) -> st.Value[object]:
        return _named(text, known, requested)

    def several(text: str) -> st.Value[object]:
        found = _named(text, known, requested)
        return found if isinstance(found, tuple) and len(set(found)) > 1 else None

    def headed(statements: Sequence[st.Statement]) -> list[st.Statement]:
        if requested is None:
            return list(statements)
        above = [heading(text[max(0, one.start - _HEADING) : one.start], items) for one in statements]
        return [
            one if mentions(head, known) else one._replace(text=head + one.text)
            for one, head in zip(statements, above, strict=True)
        ]

    text = segment.text
    stated = [one._replace(text=_with_lines(text, one)) for one in st.stated(segment)]
    lines = _list_lines(text, known)
    asserted = st.asserted(segment)
    everything = [st.Statement(text, 0, st.ASSERTED)] if asserted else []
    return st.settle(
        [
            (headed(stated), read),
            (headed(st.concluded(segment)), read),
            (headed(lines), several),
            (asserted, several),
            (everything, read),
        ]
    )


def deduplicated(found: tuple[int, ...], answer: tuple[int, ...]) -> tuple[int, ...]:
    """The items that were read, each once, unless the right answer names an item twice.

    A repeated mention does not count, but if all items are listed again ("A, B, C reversed is C, B, A"), the later
    order does.
    """
    if len(set(answer)) < len(answer):
        return found
    first, last = found[: len(answer)], found[len(answer) :]
    listed_again = len(set(last)) == len(last) and set(first) == set(last)
    return last if listed_again else tuple(dict.fromkeys(found))


def _named(
    text: str, known: Sequence[tuple[str, ...]], requested: frozenset[Direction] | None
) -> tuple[int, ...] | st.Undecided | None:
    reason = _REASON.search(text)
    if reason is not None and len(sentences(text)) == 1 and mentions(text[: reason.start()], known):
        text = text[: reason.start()]
    found = mentions(text, known) if requested is None else bare_mentions(text, known)
    out = _left_out(text, found)
    found = [
        one for index, one in enumerate(found) if index not in out and not denied(text, one.start, one.end)
    ]
    if any(_OR.fullmatch(text[a.end : b.start]) for a, b in pairwise(found)):
        return st.UNDECIDED
    if requested is not None and len(found) > 1:
        listed = plain_list(text, found)
        order = order_of(text, listed, requested, frozenset(word for one in known for word in one))
        if order is Order.UNCLEAR:
            return st.UNDECIDED
        if order is Order.REVERSED:
            return tuple(one.which for one in reversed(listed))
    return tuple(one.which for one in found) or None


def _left_out(text: str, found: Sequence[Mention]) -> set[int]:
    """The mentions (by index) that a text leaves out, with those joined to them: "salad and cake are left out"."""
    out: set[int] = set()
    for index in reversed(range(len(found))):
        end = found[index].end
        joined = index + 1 in out and _BETWEEN_ITEMS.fullmatch(text[end : found[index + 1].start])
        if joined or _LEFT_OUT.match(text, end):
            out.add(index)
    return out


def _with_lines(text: str, statement: st.Statement) -> str:
    """A statement with the short lines that follow it, if it introduces a list."""
    end = statement.start + len(statement.text)
    if not statement.text.endswith("\n"):
        return statement.text
    for line in text[end : end + 2000].split("\n"):
        if len(line.split()) > _LIST_LINE:
            break
        end += len(line) + 1
    return text[statement.start : end]


def _list_lines(text: str, known: Sequence[tuple[str, ...]]) -> list[st.Statement]:
    """The last run of short lines that each name an item, as one statement."""
    run: list[tuple[int, int]] = []
    best: list[tuple[int, int]] = []
    start = 0
    for line in text.split("\n"):
        if len(line.split()) <= _LIST_LINE and len(sentences(line)) <= 1 and mentions(line, known):
            run.append((start, start + len(line)))
            best = run if len(run) > 1 else best
        else:
            run = []
        start += len(line) + 1
    return [st.Statement(text[best[0][0] : best[-1][1]], best[0][0], st.ASSERTED)] if best else []
