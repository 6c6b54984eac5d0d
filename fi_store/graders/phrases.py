"""Reads the word or phrase that a reply gives as its answer, and judges it by phrases or a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from fi_store.graders import statements as st
from fi_store.graders.text import Reply, denied, is_cut, mentions, words

SHORT = 6
"""A statement of up to this many words is an answer even if it is not the right one."""
LONG = 25
"""A sentence of up to this many words is an answer even without a cue."""

_CUT = re.compile(
    r"\b(?:because|since|as|which|where|while|although|given|due to|who|so|not|rather than|instead of)\b"
    r"|[;(\n]|:(?!\d)| - ",
    re.IGNORECASE,
)
_REASON = re.compile(r"[,\s]\s?(?:because|since|due to|although|even though)\b", re.IGNORECASE)
_LISTED = re.compile(r"[^\W_]+(?:\s[^\W_]+)?(?:,\s?(?:and\s|or\s)?[^\W_]+(?:\s[^\W_]+)?){2,}")
_COORDINATED_BEFORE = re.compile(r"\b(?:or|either)\s(?:the\s|an?\s)?[\"'(]{0,2}$", re.IGNORECASE)
_COORDINATED_AFTER = re.compile(r"[\"')]{0,2},?\s(?:or)\b", re.IGNORECASE)
_JOINED_BEFORE = re.compile(r"\b(?:and|both)\s(?:the\s|an?\s)?[\"'(]{0,2}$", re.IGNORECASE)
_JOINED_AFTER = re.compile(r"[\"')]{0,2},?\sand\b", re.IGNORECASE)

Holds = Callable[[str], "bool | None"]
"""Whether a text gives the right answer: True, False, or None if it names it along with others without deciding."""


def names_one_of(accepted: Sequence[tuple[str, ...]]) -> Holds:
    """Judges by phrases: the text names one of them, neither denied nor along with another answer."""

    def holds(text: str) -> bool | None:
        if words(text) in accepted:
            return True
        if _LISTED.fullmatch(text.strip(" .")) and mentions(text, accepted):
            return None
        undecided = False
        for one in mentions(text, accepted):
            before, after = text[max(0, one.start - 20) : one.start], text[one.end : one.end + 20]
            if _COORDINATED_BEFORE.search(before) or _COORDINATED_AFTER.match(after):
                undecided = True
            elif _JOINED_BEFORE.search(before) or _JOINED_AFTER.match(after):
                continue
            elif not denied(text, one.start, one.end):
                return True
        return None if undecided else False

    return holds


def find_phrase(segment: Reply, holds: Holds) -> st.Value[st.Found]:
    """The statement that a reply (or the part of one after a correction) gives as its answer: (text, right)."""

    def short(text: str) -> st.Value[object]:
        start = _CUT.split(text, maxsplit=1)[0] if not _CUT.match(text) else text
        return _judged(start.strip(" .,!?\"'\n"), holds, up_to=SHORT)

    def right(text: str) -> st.Value[object]:
        return _judged(_claim(text), holds, up_to=0)

    def any_way(text: str) -> st.Value[object]:
        return _judged(_claim(text), holds, up_to=LONG)

    asserted = st.asserted(segment)
    ends = [*asserted[:1], *asserted[-1:]]
    opened = st.opening(segment)
    if is_cut(segment.text):
        return st.settle([(st.stated(segment), short), (opened, right)])
    return st.settle(
        [
            (st.stated(segment), short),
            (st.in_bold(segment)[-1:], right),
            (st.concluded(segment)[-1:], any_way),
            (ends, right),
            (opened, any_way),
            (asserted[-1:], any_way),
        ]
    )


def _claim(text: str) -> str:
    """A sentence without the reasons at its end."""
    reason = _REASON.search(text)
    return text[: reason.start()] if reason is not None and words(text[: reason.start()]) else text


def _judged(text: str, holds: Holds, *, up_to: int) -> st.Value[object]:
    """(text, whether it is right) of a statement; a wrong one counts only if it has at most `up_to` words."""
    claim = text.strip()
    if not words(claim):
        return None
    verdict = holds(claim)
    if verdict is None:
        return st.UNDECIDED
    return (claim, verdict) if verdict or len(words(claim)) <= up_to else None
