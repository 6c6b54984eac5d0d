"""Reads which of the offered options a reply decides for: by name, by letter, or by ruling out the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from fi_store.graders import statements as st
from fi_store.graders.text import Mention, Reply, denied, mentions, phrase, sentences

_OTHER_WORDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("yes",): ("yeah", "yep", "yup"),
    ("no",): ("nope", "nah"),
}
_UNKNOWN = tuple(
    tuple(words.split())
    for words in (
        "unknown", "undetermined", "uncertain", "cannot tell", "can't tell", "cannot say", "can't say", "cannot know",
        "can't know", "cannot be determined", "can't be determined", "cannot be known", "cannot be concluded",
        "not enough information", "insufficient information", "impossible to tell", "impossible to say",
        "impossible to know", "not possible to tell", "not possible to say", "can not be determined", "can not tell",
        "cannot determine", "can't determine", "not known", "undecided", "undecidable",
    )
)  # fmt: skip
"""Ways to say that nothing can be said; all mean the option that is one of them."""
_JOINED = re.compile(
    r"[\s\"')\]]{0,3}(?:,?\s?\b(?:or|nor)\b|,|/)[\s\"'(\[]{0,3}(?:(?:the|an?|option)\s)?(?:[^\W\d]{1,12}\s){0,2}",
    re.IGNORECASE,
)
_OFFERED = re.compile(r"\b(?:or|nor)\b|/", re.IGNORECASE)
_NEITHER = re.compile(r"\b(?:neither|not)\W{1,3}(?:(?:the|option|either)\s)?\W{0,2}$", re.IGNORECASE)
_HEDGED = re.compile(
    r"\b(?:could|might|may|possibly|perhaps|maybe|either|whether|if|not sure|unclear|depends)\b",
    re.IGNORECASE,
)
_REASON = re.compile(r",?\s(?:because|since)\b", re.IGNORECASE)
_DEFINED = re.compile(r"\ban?y?\s(?:[^\W\d]+\s){1,3}(?:is|are)\s(?:[^\W\d]+\s){0,2}$", re.IGNORECASE)
_CONDITION = re.compile(r"\s(?:if|when|whenever|only)\b", re.IGNORECASE)
_OPENS = re.compile(
    r"(?:[\s\"'(\[:=>*.,-]|(?:the|an?|option|choice|answer|pair|statement|it is|it's|that is|that's|this is|definitely"
    r"|clearly|certainly|obviously|simply|probably|most likely|likely|well|ok|okay|sure|of course|indeed)\b){0,12}",
    re.IGNORECASE,
)
_ENDED = re.compile(r"[\"')\]]{0,3}\s?(?:[.,;:!?\n]|-|$)|[\"')\]]")
_REASONED = re.compile(
    rf"{_ENDED.pattern}|\s(?:because|since|as|rather|instead|not|due|over)\b", re.IGNORECASE
)
_NO_SAID = re.compile(
    rf"{_ENDED.pattern}|\s(?:it|that|this|they|he|she|we|you|i|because|since|as|not|there|but)\b",
    re.IGNORECASE,
)
_PIECE = re.compile(r"[.!?;,]\s|\n|$")
_VERDICTS = ("correct", "incorrect", "right", "wrong", "true", "false")
_VERDICT = re.compile(
    rf"""(?:^\W{{0,6}}|[-:=>(,.;!\n]\s?|\b(?:is|was|looks|seems|isn't|wasn't)\s)(?:(?:also|therefore|clearly|simply|logically)\s)?
        (?:(?P<wrong>(?:(?<=n't\s)|not\s)(?:quite\s|the\s)?(?:correct|right|true)|incorrect|wrong|false)
        |(?:the\s)?(?:correct|right|true))(?=(?:\s(?:answer|choice|option|one))?(?:{_REASONED.pattern}))
    |(?P<cross>[\u2717\u2718\u274c\u2716])|[\u2713\u2714\u2705\u2611]""",
    re.IGNORECASE | re.VERBOSE,
)
_WRONG = re.compile(
    r"\b(?:wrong|false|incorrect|untrue|mistakes?|mistaken|errors?|flaw(?:s|ed)?|liars?|lie[sd]?|lying|invalid"
    r"|impossible|(?:not|n't|never|cannot)\s(?:be\s)?(?:correct|right|true|fit|hold|belong|follow))\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\b(?:which|who|whose|what|where|find|name|choose|pick|select|point\sout|spot|tell|say|give)\b",
    re.IGNORECASE,
)
_LONE_LETTER = re.compile(rf"([a-z])(?={_REASONED.pattern})", re.IGNORECASE)

MAX_BLOCK = 600
"""Characters after the name of an option in which a verdict on it is looked for."""
MAX_LINES = 40
"""Lines in which options are looked for one by one."""
SHORT = 8
"""Words up to which the first sentence of a reply that was cut later on is taken for its answer."""


class Verdict(NamedTuple):
    """What a reply that goes through the options says of one: which, whether it is the right one, where it begins."""

    which: int
    good: bool
    start: int


class Options:
    """The options of a choice, ready to be looked for."""

    def __init__(self, options: Sequence[str]) -> None:
        self.n = len(options)
        self.phrases: list[tuple[str, ...]] = []
        self.means: list[int] = []
        for index, option in enumerate(options):
            said = phrase(option)
            others = _UNKNOWN if said in _UNKNOWN else [(word,) for word in _OTHER_WORDS.get(said, ())]
            for one in (said, *others):
                self.phrases.append(one)
                self.means.append(index)

    def whole(self, said: tuple[str, ...]) -> int | None:
        """The option that words are, without anything else."""
        return next((means for one, means in zip(self.phrases, self.means, strict=True) if said == one), None)

    def read(self, text: str) -> st.Value[object]:
        """The one option that a text stands for: the one that it opens with, or names, or leaves."""
        opened = self.opening(text)
        if opened is not None:
            return opened
        found = self._find(text)
        offered = _offered(text, found)
        wanted: set[int] = set()
        refused: set[int] = set()
        for place, one in enumerate(found):
            if offered.get(place) or (place not in offered and denied(text, one.start, one.end)):
                refused.add(one.which)
            elif place not in offered:
                wanted.add(one.which)
        if len(wanted) == 1:
            return wanted.pop()
        reason = _REASON.search(text)
        if wanted and reason is not None and len(sentences(text)) == 1:
            return self.read(text[: reason.start()])
        left = set(range(self.n)) - refused
        if not wanted and refused and len(left) == 1:
            return left.pop()
        return st.UNDECIDED if wanted or offered else None

    def opening(self, text: str) -> int | None:
        """The option with which a text opens, if a mark, a bracket or the end stands after it."""
        first = self._first(text)
        if first is None or denied(text, first.start, first.end):
            return None
        if _offered(text, self._find(text[: first.start + 200])).get(0) is not None:
            return None
        said = text[first.start : first.end].casefold()
        ended = _NO_SAID if said in ("yes", "no") else _REASONED
        return first.which if ended.match(text, first.end) else None

    def verdicts(self, text: str) -> list[Verdict]:
        """What a text that goes through the options says of each: "A) ... - incorrect. B) ... - correct.". A verdict is
        looked for from where a piece of a sentence opens with an option up to where one opens with the next."""
        if any(word in _VERDICTS for one in self.phrases for word in one):
            return []
        blocks: list[tuple[int, int, str]] = []
        start = 0
        for end in _PIECE.finditer(text):
            piece = text[start : end.end()]
            first = self._first(piece)
            if first is not None:
                blocks.append((first.which, start, piece[first.end :]))
            elif blocks and len(blocks[-1][2]) < MAX_BLOCK:
                blocks[-1] = (*blocks[-1][:2], blocks[-1][2] + piece)
            start = end.end()
        judged = [(which, start, _VERDICT.search(said)) for which, start, said in blocks]
        return [
            Verdict(which, not (found["wrong"] or found["cross"]), start)
            for which, start, found in judged
            if found is not None
        ]

    def _first(self, text: str) -> Mention | None:
        """The option that a text names first of all."""
        opens = _OPENS.match(text)
        start = opens.end() if opens is not None else 0
        letter = _LONE_LETTER.match(text, start)
        if letter is not None:
            which = self.whole((letter[1].casefold(),))
            return None if which is None else Mention(which, *letter.span(1))
        found = self._find(text[: start + 200])
        return found[0] if found and found[0].start <= start else None

    def _find(self, text: str) -> list[Mention]:
        """Where the text names an option; "no" counts as an answer only, not as in "no reason"."""
        return [
            one._replace(which=self.means[one.which])
            for one in mentions(text, self.phrases)
            if self.phrases[one.which] != ("no",) or _NO_SAID.match(text, one.end)
        ]


def find_choice(segment: Reply, known: Options, prompt: str = "") -> st.Value[st.Found]:
    """The position of the option that a reply (or the part of one after a correction) to a prompt decides for."""
    verdicts = known.verdicts(segment.text)
    several = len({one.which for one in verdicts}) > 1
    judged = [st.Statement(segment.text, verdicts[-1].start, st.SAID)] if several else []
    concluded = st.concluded(segment)
    bare = [one for one in concluded if known.opening(one.text) is not None]
    opened, said = st.opening(segment), st.said(segment)
    if several:
        opened = [one for one in opened if one.start < verdicts[0].start]  # ahead of the verdicts
    elif len({known.opening(line) for line in segment.text.split("\n")[:MAX_LINES]} - {None}) > 1:
        opened = []  # option by option: the first one is not the answer
    first = [one for one in opened if len(one.text.split()) <= SHORT and not _HEDGED.search(one.text)]
    everything = [st.Statement(segment.text, 0, st.SAID)] if said else []
    last = [one for one in said[-1:] if not _HEDGED.search(one.text)]
    return st.settle(
        [
            (sorted([*st.stated(segment), *bare], key=lambda one: one.start), known.read),
            (opened, known.opening),
            (concluded, known.read),
            (judged, lambda _: st.UNDECIDED if _asks_for_wrong(prompt) else _left(verdicts, known.n)),
            (st.in_bold(segment), known.read),
            (everything, known.read),
            (last, known.read),
            ([] if said else first, known.read),
        ]
    )


def _asks_for_wrong(prompt: str) -> bool:
    """Whether a prompt asks for what does not hold: there verdicts do not tell which option is meant."""
    return any(_WRONG.search(one.text) and _ASKS.search(one.text) for one in sentences(prompt))


def _left(verdicts: Sequence[Verdict], n: int) -> int | st.Undecided:
    """The only one of `n` options with a good verdict, or without a bad one where none is good."""
    good, bad = ({one.which for one in verdicts if one.good is kind} for kind in (True, False))
    chosen = good or set(range(n)) - bad
    return chosen.pop() if len(chosen) == 1 and not chosen & bad else st.UNDECIDED


def _offered(text: str, found: list[Mention]) -> dict[int, bool]:
    """The mentions (by position) that are only offered, as in "A or B" or "an argument is valid if"; True for those
    after "neither"."""
    offered = {
        place: False
        for place, one in enumerate(found)
        if _CONDITION.match(text, one.end) and _DEFINED.search(text[max(0, one.start - 60) : one.start])
    }
    first = 0
    while first < len(found):
        last = first
        while last + 1 < len(found) and _JOINED.fullmatch(text[found[last].end : found[last + 1].start]):
            last += 1
        between = text[found[first].end : found[last].start]
        if last > first and _OFFERED.search(between):
            refused = bool(_NEITHER.search(text[max(0, found[first].start - 20) : found[first].start]))
            offered |= dict.fromkeys(range(first, last + 1), refused)
        first = last + 1
    return offered
