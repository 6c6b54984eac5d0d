"""Finds where a reply states its answer: "the answer is ...", what follows "therefore", bold words, corrections."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fi_store.graders.text import Reply, Span, is_cut, sentences

T = TypeVar("T")

STATED, CONCLUDED, BOLD = "stated", "concluded", "bold"
OPENING, ASSERTED, WHOLE = "opening", "said", "whole reply"
"""How an answer was found, strongest first, as it is stored (`WHOLE`: the reply is nothing but the answer)."""
MAX_CORRECTIONS = 20
"""Corrections, counted from the end, at which a reply is split."""
MAX_STATEMENTS = 40
"""Statements of each kind, counted from the end, that are read."""


class Undecided(Enum):
    """The result for a statement that commits to several answers without deciding."""

    UNDECIDED = "undecided"


UNDECIDED = Undecided.UNDECIDED
Value: TypeAlias = T | Undecided | None
"""What one statement gives: a value, several without a decision, or nothing."""


class Statement(NamedTuple):
    """A part of a reply that may contain its answer; `start` is its position, so that a later one can win."""

    text: str
    start: int
    how: str


class Found(NamedTuple):
    """An answer as it was read (its form depends on the kind of grader), and how it was found."""

    value: Any
    how: str


_STATED = re.compile(
    r"""\banswers?\b(?:\s(?:to|for|of|here|in)\b[^.:\n]{0,60}?)?,?\s?(?:(?:then|therefore|thus|so),?\s)?
        (?:(?:is|are|was|would\sbe|will\sbe|must\sbe|should\sbe|has\sto\sbe|comes\sto)\b(?:\s?:)?|[:=]|->|→)
    | \b(?:correct|right|best|better|likelier)\s(?:option|choice|one|statement|pair|word)\b\s?(?:is|would\sbe|:)
    | \bI(?:'d|'ll|\swould|\swill)?\s(?:choose|pick|select|say|go\swith|go\sfor|vote\sfor)\b(?:\sthat\b|:)?
    | \bmy\s(?:final\s)?(?:choice|pick|guess|verdict)\s?(?:is|would\sbe|:)
    | (?:^|(?<=\n))(?:final\s|the\s|short\s)?answer(?=\n)""",
    re.IGNORECASE | re.VERBOSE,
)
_CONCLUDED = re.compile(
    r"""\b(?:therefore|thus|hence|consequently|in\sconclusion|to\sconclude|conclusion(?=:)|in\stotal|altogether|overall
        |in\sshort|in\ssummary|(?:this|that|which)\smeans|it\sfollows\sthat|we\s(?:get|conclude)|that\sleaves|leaving
        |(?:the\s)?(?:result|solution|total|conclusion)\s(?:is|:)|so(?!\s(?:that|many|much|far|long|few|as)\b))
        \b,?(?:\sthat\b)?""",
    re.IGNORECASE | re.VERBOSE,
)
_CORRECTION = re.compile(
    r"""(?:^|(?<=[.!?,;:(\n])|(?<=[.!?,;:(\n-]\s))(?:(?:but|oh|hmm|hm|no|ah|and)\b,?\s){0,3}
        (?:wait|actually|hold\son|correction|scratch\sthat|on\ssecond\sthought|oops|my\smistake|i\smade\san?\s(?:mistake|error)
        |i\swas\swrong|let\sme\s(?:correct|fix|redo|reconsider|re-?check|double-?check|check|try\sagain)|i\smean[t]?
        |(?:or|but)\srather|sorry(?=,?\s(?:i\sm|that|my|the|it)|,\s\d)|apologies)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_CONFIRMED = re.compile(
    r"""\W{0,3}(?:(?:yes|yep|ok|okay|so|and|good|indeed)\b,?\s?){0,2}(?:(?:that|this|it|(?:the|my)\sanswer|everything|all)\b
        \s?(?:'s|is|was|does|looks|still)?\s?(?:still\s)?(?:right|correct|fine|good|checks?\sout|stands?|holds?)
        |(?:still\s)?correct|right)\W{0,3}""",
    re.IGNORECASE | re.VERBOSE,
)
_COURTESY = re.compile(
    r"\b(?:hope (?:this|that|it)|let me know|feel free|happy to help|any (?:other|more|further) questions"
    r"|would you like|is there anything|thank you|you're welcome|good luck|great question|good question)\b",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"\W{0,3}(?:to (?:solve|find|determine|calculate|compute|answer|work|decide|see|get)\b|let(?:'s| us| me)\b"
    r"|we (?:need|have) to\b|premise\b|suppose\b)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able|not sure|afraid)|i (?:can't|cannot|can not|won't|will not|don't|do not)"
    r" (?:help|answer|assist|provide|know|determine|tell|say)|as an ai\b|unable to (?:answer|help|assist))",
    re.IGNORECASE,
)


def cues(text: str) -> list[tuple[int, int]]:
    """The positions of "the answer is" and similar cues in a text."""
    return [one.span() for one in list(_STATED.finditer(text))[-MAX_STATEMENTS:]]


def segments(reply: Reply) -> list[Reply]:
    """The reply split before each correction ("Wait, ...", "Actually, ..."); the last part counts most.

    A part that only confirms what came before it ("Let me check ... That is right.") is left out.
    """
    corrected = [found.start() for found in _CORRECTION.finditer(reply.text) if found.start() > 0]
    starts = [0, *corrected[-MAX_CORRECTIONS:]]
    ends = [*starts[1:], len(reply.text)]
    parts = []
    for start, end in zip(starts, ends, strict=True):
        spans = sentences(reply.text[start:end])
        if start and spans and _CONFIRMED.fullmatch(spans[-1].text):
            continue
        bold = tuple((a - start, b - start) for a, b in reply.bold if a >= start and b <= end)
        parts.append(Reply(reply.text[start:end], bold))
    return parts


def stated(reply: Reply) -> list[Statement]:
    """What follows "the answer is" and similar cues, to the end of the sentence (or of the next line)."""
    found = list(_STATED.finditer(reply.text))[-MAX_STATEMENTS:]
    return [_after(reply.text, one.end(), STATED) for one in found]


def concluded(reply: Reply) -> list[Statement]:
    """What follows "therefore" and similar cues; if the reply was cut off, only in its last sentence."""
    first = sentences(reply.text)[-1].start if is_cut(reply.text) else 0
    found = list(_CONCLUDED.finditer(reply.text, first))[-MAX_STATEMENTS:]
    return [_after(reply.text, one.end(), CONCLUDED) for one in found]


def in_bold(reply: Reply) -> list[Statement]:
    """The passages in bold."""
    return [Statement(reply.text[start:end], start, BOLD) for start, end in reply.bold[-MAX_STATEMENTS:]]


def asserted(reply: Reply) -> list[Statement]:
    """The sentences that assert something; none if the reply was cut off before it came to an answer."""
    if is_cut(reply.text):
        return []
    spans = sentences(reply.text)
    chosen = [*spans[:1], *spans[1:][-MAX_STATEMENTS:]]
    return [Statement(span.text, span.start, ASSERTED) for span in chosen if _asserts(reply.text, span)]


def opening(reply: Reply) -> list[Statement]:
    """The first sentence that asserts something, unless it is the last one of a reply that was cut off."""
    spans = sentences(reply.text)
    whole = spans[:-1] if is_cut(reply.text) else spans
    return [Statement(span.text, span.start, OPENING) for span in whole if _asserts(reply.text, span)][:1]


def _asserts(text: str, span: Span) -> bool:
    """Whether a sentence is not a question, a courtesy, a refusal or an announcement of the next steps."""
    if text[span.end : span.end + 4].startswith("?"):
        return False
    return not any(kind.search(span.text) for kind in (_COURTESY, _REFUSAL)) and not _PREAMBLE.match(
        span.text
    )


def _after(text: str, position: int, how: str) -> Statement:
    skipped = re.compile(r"[\s:*=>\"'-]{0,8}").match(text, position)
    start = skipped.end() if skipped is not None else position
    rest = sentences(text[start : start + 600])
    if text[start - 1 : start] == "-" and text[start : start + 1].isdigit():
        start -= 1  # a sign, not a dash
    return Statement(text[start : start + (rest[0].end + 1 if rest else 0)], start, how)


def settle(tiers: Sequence[tuple[Sequence[Statement], Callable[[str], Value[object]]]]) -> Value[Found]:
    """The answer in the last statement of the strongest tier that can be read.

    Once a statement commits to several answers, only what comes after it can decide.
    """
    floor = -1
    for statements, read in tiers:
        for statement in reversed(statements):
            if statement.start <= floor:
                break
            value = read(statement.text)
            if value is UNDECIDED:
                floor = statement.start
            elif value is not None:
                return Found(value, statement.how)
    return UNDECIDED if floor >= 0 else None
