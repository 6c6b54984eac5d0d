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
"""Ways to say that the answer cannot be known; all mean the option that is one of them."""
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
_NO_ANSWERED = re.compile(
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
"""Characters after the name of an option that are searched for a verdict on it."""
MAX_LINES = 40
"""Lines that are searched for options listed one by one."""
SHORT = 8
"""A first sentence of up to this many words is the answer of a reply that was cut off later."""


class Verdict(NamedTuple):
    """The verdict on one option in a reply that goes through them: which, whether it is right, where it begins."""

    which: int
    good: bool
    start: int


class Options:
    """The options of a choice, prepared for finding them in a text."""

    def __init__(self, options: Sequence[str]) -> None:
        self.n = len(options)
        self.phrases: list[tuple[str, ...]] = []
        self.means: list[int] = []
        for index, option in enumerate(options):
            name = phrase(option)
            others = _UNKNOWN if name in _UNKNOWN else [(word,) for word in _OTHER_WORDS.get(name, ())]
            for synonym in (name, *others):
                self.phrases.append(synonym)
                self.means.append(index)

    def whole(self, words: tuple[str, ...]) -> int | None:
        """The option that the words name and nothing else."""
        return next(
            (means for one, means in zip(self.phrases, self.means, strict=True) if words == one), None
        )

    def read(self, text: str) -> st.Value[object]:
        """The one option that a text chooses: the one that it opens with, or names, or does not rule out."""
        opened = self.opening(text)
        if opened is not None:
            return opened
        found = self._find(text)
        offered = _offered(text, found)
        wanted: set[int] = set()
        ruled_out: set[int] = set()
        for index, one in enumerate(found):
            if offered.get(index) or (index not in offered and denied(text, one.start, one.end)):
                ruled_out.add(one.which)
            elif index not in offered:
                wanted.add(one.which)
        if len(wanted) == 1:
            return wanted.pop()
        reason = _REASON.search(text)
        if wanted and reason is not None and len(sentences(text)) == 1:
            return self.read(text[: reason.start()])
        left = set(range(self.n)) - ruled_out
        if not wanted and ruled_out and len(left) == 1:
            return left.pop()
        return st.UNDECIDED if wanted or offered else None

    def opening(self, text: str) -> int | None:
        """The option with which a text opens, if punctuation, a bracket, a reason or the end follows it."""
        first = self._first(text)
        if first is None or denied(text, first.start, first.end):
            return None
        if _offered(text, self._find(text[: first.start + 200])).get(0) is not None:
            return None
        name = text[first.start : first.end].casefold()
        ended = _NO_ANSWERED if name in ("yes", "no") else _REASONED
        return first.which if ended.match(text, first.end) else None

    def verdicts(self, text: str) -> list[Verdict]:
        """The verdicts of a text that goes through the options: "A) ... - incorrect. B) ... - correct.".

        A verdict is looked for from the clause that opens with an option up to the clause that opens with the next.
        """
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
        judged = [(which, start, _VERDICT.search(block)) for which, start, block in blocks]
        return [
            Verdict(which, not (found["wrong"] or found["cross"]), start)
            for which, start, found in judged
            if found is not None
        ]

    def _first(self, text: str) -> Mention | None:
        """The option that a text begins with."""
        opens = _OPENS.match(text)
        start = opens.end() if opens is not None else 0
        letter = _LONE_LETTER.match(text, start)
        if letter is not None:
            which = self.whole((letter[1].casefold(),))
            return None if which is None else Mention(which, *letter.span(1))
        found = self._find(text[: start + 200])
        return found[0] if found and found[0].start <= start else None

    def _find(self, text: str) -> list[Mention]:
        """Where the text names an option; "no" counts only as an answer, not as in "no reason"."""
        return [
            one._replace(which=self.means[one.which])
            for one in mentions(text, self.phrases)
            if self.phrases[one.which] != ("no",) or _NO_ANSWERED.match(text, one.end)
        ]


def find_choice(segment: Reply, known: Options, prompt: str = "") -> st.Value[st.Found]:
    """The index of the option that a reply to a prompt (or the part of one after a correction) decides for."""
    verdicts = known.verdicts(segment.text)
    several = len({one.which for one in verdicts}) > 1
    judged = [st.Statement(segment.text, verdicts[-1].start, st.ASSERTED)] if several else []
    concluded = st.concluded(segment)
    bare = [one for one in concluded if known.opening(one.text) is not None]
    opened, asserted = st.opening(segment), st.asserted(segment)
    if several:
        opened = [one for one in opened if one.start < verdicts[0].start]  # ahead of the verdicts
    elif len({known.opening(line) for line in segment.text.split("\n")[:MAX_LINES]} - {None}) > 1:
        opened = []  # option by option: the first one is not the answer
    first = [one for one in opened if len(one.text.split()) <= SHORT and not _HEDGED.search(one.text)]
    everything = [st.Statement(segment.text, 0, st.ASSERTED)] if asserted else []
    last = [one for one in asserted[-1:] if not _HEDGED.search(one.text)]
    return st.settle(
        [
            (sorted([*st.stated(segment), *bare], key=lambda one: one.start), known.read),
            (opened, known.opening),
            (concluded, known.read),
            (judged, lambda _: st.UNDECIDED if _asks_for_wrong(prompt) else _chosen(verdicts, known.n)),
            (st.in_bold(segment), known.read),
            (everything, known.read),
            (last, known.read),
            ([] if asserted else first, known.read),
        ]
    )


def _asks_for_wrong(prompt: str) -> bool:
    """Whether a prompt asks for what is wrong: then verdicts do not tell which option is meant."""
    return any(_WRONG.search(one.text) and _ASKS.search(one.text) for one in sentences(prompt))


def _chosen(verdicts: Sequence[Verdict], n: int) -> int | st.Undecided:
    """The only one of `n` options with a good verdict or, if none is good, without a bad one."""
    good, bad = ({one.which for one in verdicts if one.good is kind} for kind in (True, False))
    chosen = good or set(range(n)) - bad
    return chosen.pop() if len(chosen) == 1 and not chosen & bad else st.UNDECIDED


def _offered(text: str, found: list[Mention]) -> dict[int, bool]:
    """The mentions (by index) that are only offered: "A or B", "an argument is valid if"; True after "neither"."""
    offered = {
        index: False
        for index, one in enumerate(found)
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
