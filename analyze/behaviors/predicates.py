"""Executable predicates over an answer: whether each holds, the spans that it rests on, and its phrase."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import py3langid
import regex

WORD = r"\w+(?:['’]\w+)*"
_WORDS = regex.compile(WORD)
SECONDS = 0.2
"""Time that a pattern may take on one answer."""
LETTERS = 20
"""Answers with fewer letters have no language."""
REPEATED_WORDS = 6
"""This many consecutive words that are in the prompt too count as repeating it."""

Kind = Literal[
    "words", "sequence", "form", "language", "empty", "repetition", "length", "unfinished", "thinking"
]

FORMS: dict[str, tuple[str, str]] = {
    "numbered_list": (r"(?m)^[ \t]{0,8}\d{1,2}[.)][ \t]", "a numbered list"),
    "bulleted_list": (r"(?m)^[ \t]{0,8}[-*•][ \t]+\S", "a bulleted list"),
    "table": (r"(?m)^[ \t]{0,8}\|.{1,300}\|[ \t]*$", "a table"),
    "heading": (r"(?m)^#{1,6}[ \t]+\S", "a heading"),
    "bold": (r"\*\*[^*\n]{1,200}\*\*", "words in bold"),
    "code_block": (r"```", "a block of code"),
    "latex": (r"\\\(|\\\[|\$\$|\\frac\b|\\boxed\b", "LaTeX"),
    "emoji": (r"[\U0001F300-\U0001FAFF\u2600-\u27BF]", "an emoji"),
    "json": (r"\A\s*[\[{][\s\S]*[\]}]\s*\Z", "JSON"),
    "question": (r"\?\s*\Z", "a question at the end"),
    "refusal": (
        r"(?i)\bI(?:['’]m| am) (?:sorry|not able to|unable to)\b|\bas an AI\b"
        r"|\bI (?:cannot|can['’]t|won['’]t) (?:help|assist|provide|do|answer)\b",
        "a refusal",
    ),
    "hedging": (
        r"(?i)\b(?:I (?:think|believe|guess)|perhaps|maybe|possibly|might be|not (?:entirely |quite )?(?:sure|certain)"
        r"|as far as I know|I (?:could|may|might) be wrong)\b",
        "hedging",
    ),
}
"""Name -> the pattern that finds a form, and its phrase."""
LANGUAGES = {
    "af": "Afrikaans", "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "gl": "Galician", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "la": "Latin",
    "lt": "Lithuanian", "lv": "Latvian", "ms": "Malay", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian",
    "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""ISO 639 code -> English name, of the languages that most models write; others keep their code."""
_PATTERNS = {name: regex.compile(pattern) for name, (pattern, _) in FORMS.items()}


class TooSlowError(Exception):
    """A pattern took longer than `SECONDS` on one answer."""


@dataclass(frozen=True)
class OwnAnswer:
    """One answer to one prompt, without the thinking before it."""

    text: str
    prompt: str
    finished: bool  # it ended by itself rather than at the limit
    start: int = 0  # characters of thinking before it

    @cached_property
    def words(self) -> list[str]:
        """Its words in order, without case."""
        return words_of(self.text)


@dataclass(frozen=True)
class AnswerPredicate:
    """A yes-or-no question about an answer.

    `value`: the words (kinds `words`, `sequence`), or the name of a form or language. `least`: how many of the
    words must occur; the number of words for `length`.
    """

    kind: Kind
    value: tuple[str, ...] = ()
    least: int = 1

    def to_json(self) -> dict[str, Any]:
        """The predicate as the store keeps it."""
        return {"kind": self.kind, "value": list(self.value), "least": self.least}

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it asks for."""
        return self.value if self.kind in ("words", "sequence") else ()

    @property
    def whole_answer(self) -> bool:
        """Whether it is about an answer as a whole and rests on no part of it."""
        return self.kind == "language" or self.about_length

    @property
    def about_length(self) -> bool:
        """Whether it only says how much was written."""
        return self.kind in ("length", "empty", "unfinished")

    @property
    def phrase(self) -> str:
        """What it asks for, where that is not in the words of the answers: 'a numbered list', 'Spanish'."""
        match self.kind:
            case "form":
                return FORMS[self.value[0]][1]
            case "language":
                return LANGUAGES.get(self.value[0], f"the language {self.value[0]}")
            case "length":
                return f"longer than {self.least} words"
            case "empty":
                return "no text"
            case "thinking":
                return "thinking before them"
            case "unfinished":
                return "no end before the limit"
            case "repetition":
                return f"{REPEATED_WORDS} consecutive words of the prompt"
            case _:
                return " ".join(self.value)

    def holds(self, answer: OwnAnswer) -> bool:
        """Whether the predicate is true of an answer.

        Raises:
            TooSlowError: a pattern took too long on this text.
        """
        match self.kind:
            case "language":
                return language_of(answer.text) == self.value[0]
            case "length":
                return len(answer.words) > self.least
            case "empty":
                return not answer.text.strip() and not answer.start  # a thought is text
            case "thinking":
                return answer.start > 0
            case "unfinished":
                return not answer.finished
            case "repetition":
                return bool(repeated(answer))
            case "words":
                own = set(answer.words)
                return sum(word in own for word in self.value) >= self.least
            case _:
                return bool(self.spans(answer))

    def spans(self, answer: OwnAnswer) -> list[tuple[int, int]]:
        """The characters of the text on which the predicate rests, in order; none for what is about the whole.

        Thinking comes before the text, so its characters are negative.
        """
        text = answer.text
        match self.kind:
            case "words":
                return [m.span() for m in _WORDS.finditer(text) if m[0].casefold() in self.value]
            case "sequence":
                return sequence_spans(text, self.value)
            case "form":
                return _found(_PATTERNS[self.value[0]], text)
            case "repetition":
                return repeated(answer)
            case "thinking":
                return [(-answer.start, 0)] if answer.start else []
            case _:
                return []


def words_of(text: str) -> list[str]:
    """The words of a text in order, without case."""
    return [found.casefold() for found in _WORDS.findall(text)]


@lru_cache(maxsize=4096)
def language_of(text: str) -> str:
    """The language of a text as an ISO 639 code; '' for texts with too few letters."""
    return str(py3langid.classify(text)[0]) if sum(map(str.isalpha, text)) >= LETTERS else ""


def repeated(answer: OwnAnswer) -> list[tuple[int, int]]:
    """Where an answer repeats at least `REPEATED_WORDS` words of its prompt in a row."""
    asked = words_of(answer.prompt)
    known = {tuple(asked[i : i + REPEATED_WORDS]) for i in range(len(asked) - REPEATED_WORDS + 1)}
    found = list(_WORDS.finditer(answer.text))
    own = [m[0].casefold() for m in found]
    return [
        (found[i].start(), found[i + REPEATED_WORDS - 1].end())
        for i in range(len(own) - REPEATED_WORDS + 1)
        if tuple(own[i : i + REPEATED_WORDS]) in known
    ]


def sequence_spans(text: str, words: tuple[str, ...]) -> list[tuple[int, int]]:
    """The characters of every stretch of a text in which the words follow one another."""
    found = list(_WORDS.finditer(text))
    own = [m[0].casefold() for m in found]
    size = len(words)
    return [
        (found[i].start(), found[i + size - 1].end())
        for i in range(len(own) - size + 1)
        if tuple(own[i : i + size]) == words
    ]


def _found(pattern: Any, text: str) -> list[tuple[int, int]]:
    try:
        return [m.span() for m in pattern.finditer(text, timeout=SECONDS)]
    except TimeoutError as error:
        raise TooSlowError(pattern.pattern) from error
