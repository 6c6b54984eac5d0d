"""Turns a model's reply into searchable plain text: bounded, without markup, split into sentences and words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from string import ascii_lowercase
from typing import NamedTuple

from fi_store.graders.attributed import without_attributed

MAX_REPLY = 20_000
"""Characters of a reply that are read, from its end: a later statement counts more than an earlier one."""
SHORT_REPLY = 12
"""A reply of up to this many words is a complete answer, not one that was cut off, even without a final period."""

_DIGIT_GROUP = re.compile("(?<=\\d)[\u00a0\u2009\u202f'’_](?=\\d{3}(?!\\d))")
_UNIFIED = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2212": "-", "\u2013": "-", "\u2044": "/",
        "\u2014": " - ", "$": " ", "\u2605": " ", "`": " ",
    }
)  # fmt: skip
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e]")
_LATEX = (
    (re.compile(r"\\[dt]?frac\s?\{([^{}\n]{1,20})\}\s?\{([^{}\n]{1,20})\}"), r" \1/\2 "),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|mathit|operatorname)\s?\{([^{}\n]{0,200})\}"), r"\1"),
    (re.compile(r"\{,\}|\\,(?=\d{3})"), ","),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), " × "),
    (re.compile(r"\\div(?![a-zA-Z])"), " ÷ "),
    (re.compile(r"\\boxed\s?\{([^{}\n]{0,300})\}"), "\nFinal answer: \\1\n"),
    (re.compile(r"\\(?:[a-zA-Z]{1,20}|.)"), " "),
)
_NEXT_QUESTION = re.compile(
    r"\n\s{0,9}(?:Q|Question|Problem|Exercise|User|Human)[ \t]{0,3}\d{0,3}[ \t]{0,3}:", re.IGNORECASE
)
_REPEATED = re.compile(r"([^\w\s])\1{4,}")
_HASHES = re.compile(r"^####\s?(?=-?[\d(])", re.MULTILINE)
_LINE_START = re.compile(r"^(?:#{1,6}(?=\s)|>|[-*•+](?=\s))\s?", re.MULTILINE)
_NUMBERED = re.compile(r"^(\d{1,2})[.)] (?=\S)", re.MULTILINE)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*|__([^_\n]{1,200})__")
_EMPHASIS = re.compile(r"(?<![\w)*])\*(?=\w)|(?<=[\w.!?):])\*(?![\w*(])")
_SENTENCE_END = re.compile(
    r"(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bapprox)[.!?]{1,4}[\"')\]]{0,3}(?=\s|$)|\n", re.IGNORECASE
)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # written without spaces: each character counts as a word
_WORD = re.compile(
    rf"[{_CJK}]|\d+(?:[.,:/]\d+)+(?![^\W_])|[^\W_{_CJK}]+(?:'[^\W_{_CJK}]+)?",
)
_ARTICLES = frozenset(("a", "an", "the"))
_ENDS_WITH_RESULT = re.compile(r"=\s?-?[\d.,/]+[^=\d]{0,30}$")
_CLOSED = tuple(".!?)\"']}%°")


class Reply(NamedTuple):
    """A reply, or the part of one after a correction, as plain text; `bold` holds (start, end) in `text`."""

    text: str
    bold: tuple[tuple[int, int], ...] = ()


class Span(NamedTuple):
    """A piece of a text and its position there."""

    text: str
    start: int
    end: int


class Mention(NamedTuple):
    """A phrase that a text names: which of those looked for, and its position."""

    which: int
    start: int
    end: int


def plain(reply: str) -> Reply:
    """The reply without Markdown, LaTeX, numbering and bullets, and with look-alike characters unified.

    It is cut where the model goes on to ask itself a question ("Question: ..."), and what it reports as other people's
    answers is removed.
    """
    text = _DIGIT_GROUP.sub("", reply[-MAX_REPLY:])
    text = _VULGAR.sub(lambda found: " " + unicodedata.normalize("NFKC", found.group()), text)
    text = unicodedata.normalize("NFKC", text)[-MAX_REPLY:].translate(_UNIFIED)
    if "\\" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    text = _REPEATED.sub(r"\1\1\1\1", text).strip()
    cut = _NEXT_QUESTION.search(text)
    if cut is not None:
        text = text[: cut.start()]
    text = re.sub(r"[^\S\n]+", " ", text)
    text = re.sub(r" ?\n[ \n]*", "\n", text).strip()
    text = _LINE_START.sub("", _HASHES.sub("Final answer: ", text))
    return _without_bold(without_attributed(_EMPHASIS.sub("", _without_numbering(text))))


def _without_numbering(text: str) -> str:
    """Removes numbers that count lines (1., 2., 3.); a number that does not continue a count may be an answer."""
    expected, kept, pieces = 1, 0, []
    for found in _NUMBERED.finditer(text):
        if int(found.group(1)) not in (expected, 1):
            continue
        expected = int(found.group(1)) + 1
        pieces.append(text[kept : found.start()])
        kept = found.end()
    return "".join(pieces) + text[kept:]


def _without_bold(text: str) -> Reply:
    pieces: list[str] = []
    bold: list[tuple[int, int]] = []
    length = kept = 0
    for found in _BOLD.finditer(text):
        content = found.group(1) or found.group(2)
        pieces += (text[kept : found.start()], content)
        length += found.start() - kept + len(content)
        bold.append((length - len(content), length))
        kept = found.end()
    return Reply("".join(pieces) + text[kept:], tuple(bold))


@lru_cache(maxsize=64)
def sentences(text: str) -> tuple[Span, ...]:
    """The sentences and lines of a text that contain a word, without the punctuation at their ends."""
    found, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        found.append(Span(text[start : end.start()], start, end.start()))
        start = end.end()
    found.append(Span(text[start:], start, len(text)))
    return tuple(span for span in found if _WORD.search(span.text))


def is_cut(text: str) -> bool:
    """Whether a reply seems to have hit its token limit: it is not a short answer and ends in mid-sentence."""
    end = text.rstrip()
    found = sentences(end)
    if end.endswith(_CLOSED) or not found or (len(found) == 1 and len(_WORD.findall(end)) <= SHORT_REPLY):
        return False
    return not _ENDS_WITH_RESULT.search(found[-1].text)


@lru_cache(maxsize=64)
def words(text: str) -> tuple[str, ...]:
    """The words as they are compared: lowercase, without punctuation, articles and possessive s."""
    return tuple(word for word, _, _ in tokens(text)) or tuple(
        found.group().casefold() for found in _WORD.finditer(text)
    )


@lru_cache(maxsize=64)
def tokens(text: str) -> tuple[Span, ...]:
    """The words of a text with their positions, in the form of `words`; articles are left out."""
    found = []
    for one in _WORD.finditer(text):
        word = one.group().casefold().removesuffix("'s")
        if word not in _ARTICLES:
            found.append(Span(word, one.start(), one.end()))
    return tuple(found)


def phrase(text: str) -> tuple[str, ...]:
    """`words` of a text that a person wrote, with look-alike characters unified as in `plain`."""
    return words(unicodedata.normalize("NFKC", text).translate(_UNIFIED))


def mentions(text: str, phrases: Sequence[tuple[str, ...]]) -> list[Mention]:
    """Where a text names one of the phrases, in order; if two overlap, the longer one counts.

    Single letters are matched as names of options ("(B)", "Option B", "B."), not as words: "a" is an article.
    """
    starts: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    letters: dict[str, int] = {}
    for index, one in enumerate(phrases):
        if len(one) == 1 and len(one[0]) == 1 and one[0] in ascii_lowercase:
            letters[one[0]] = index
        elif one:
            starts.setdefault(one[0], []).append((one, index))
    found = _letters(text, letters) if letters else []
    if starts:
        found += _phrases(tokens(text), starts)
    return sorted(found, key=lambda one: one.start)


def _phrases(
    spans: Sequence[Span], starts: dict[str, list[tuple[tuple[str, ...], int]]]
) -> Iterable[Mention]:
    position = 0
    while position < len(spans):
        step = 1
        for one, index in sorted(starts.get(spans[position].text, ()), key=lambda item: -len(item[0])):
            last = position + len(one) - 1
            if tuple(word.text for word in spans[position : last + 1]) == one:
                yield Mention(index, spans[position].start, spans[last].end)
                step = len(one)
                break
        position += step


_LETTER = re.compile(
    r"""[(\[]\s?(?P<bracket>[A-Za-z])\s?[)\]]
    | \b(?i:option|choice|answer|letter|pair|statement|sentence|alternative)\s(?:is\s)?(?P<named>[A-Z])(?![\w'])
    | (?<![\w'.-])(?P<marked>[A-Z])(?=[).:,;!?"\]]|\s?$|\n|\s?[-→>]|\s(?:is|was|because|since|as|would|will|seems|has
        |shares|or|nor|and|rather|not|than|over|fits|matches|follows|must|can|does|says|means|states|also)\b)
    | \b(?:is|be|choose|pick|select|than|not|say|with|for|nor|or|and|both|to)\s(?P<after>[B-HJ-Z])(?!\w)""",
    re.VERBOSE,
)
_BARE_LETTER = re.compile(
    r"(?<![\w'.-])(?:[B-HJ-Z](?![\w'])|A(?=\s(?:is|was|comes?|goes|before|after|then|to|first|last|becomes|must)\b))"
)


def bare_mentions(text: str, phrases: Sequence[tuple[str, ...]]) -> list[Mention]:
    """`mentions` plus every capital that stands alone, for texts in which letters name things, as in "B after A"."""
    found = mentions(text, phrases)
    known, taken = {one: index for index, one in enumerate(phrases)}, {one.start for one in found}
    for one in _BARE_LETTER.finditer(text):
        index = known.get((one[0].casefold(),))
        if index is not None and one.start() not in taken:
            found.append(Mention(index, *one.span()))
    return sorted(found, key=lambda one: one.start)


def _letters(text: str, letters: dict[str, int]) -> list[Mention]:
    found = []
    for one in _LETTER.finditer(text):
        name = str(one.lastgroup)
        index = letters.get(one.group(name).casefold())
        if index is not None:
            found.append(Mention(index, one.start(name), one.end(name)))
    return found


_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor|without|than|unlike|except|versus|vs|instead of|opposed to|no longer"
    r"|would(?: not|n't) (?:say|call)"
    r"|(?:choose|pick|prefer|select|take)\s\S{1,20}\sover)|n't)"
    r"(?:\s(?:a|an|the|that|be|been|being|is|it|in|on|at|by|any|necessarily|really|actually|logically|strictly|quite"
    r"|formally|truly|always|definitely|fact|option|choice|answer|considered|called|to|of)){0,4}[\s\"'(\[:]{0,3}$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\"')\]]{0,3}\s(?:is|are|was|were|would be|must be|can|could|should be)\s?(?:not\b|n't|wrong\b|incorrect\b"
    r"|impossible\b|out\b|ruled out\b|excluded\b|false\b)|[\"')\]]{0,3}\s(?:isn't|aren't|wasn't|can't|cannot)\b",
    re.IGNORECASE,
)


def denied(text: str, start: int, end: int) -> bool:
    """Whether a text denies what it says from `start` to `end`: "not valid", "rather than B", "B is wrong"."""
    return bool(_DENIED_BEFORE.search(text[max(0, start - 60) : start])) or bool(
        _DENIED_AFTER.match(text[end : end + 40])
    )
