"""The grammar of names: small predicates over a position in a text, each with its phrase (METHOD section 6).

A predicate can be executed on any row, so a name is a claim that unseen text can refute. Atoms test the token, the next
token, the form of the current line, the form of the question, or the part of the sequence; AND and OR join two atoms.
The patterns describe forms of writing in general and know nothing about any particular model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analyze.extraction import CONTROL, PROMPT, RESPONSE, START, BoolArray, Extraction

Atom = Literal["token", "next", "line", "question", "place"]
"""Kinds of atoms, as they are stored; `place` tests the part of the sequence."""

LINE_PATTERNS: Mapping[str, tuple[str, str]] = {
    "enumerator": (r"^\W*(?:[^\W\d_]+ )?\(?\d{1,2}[.:)]", "in a numbered line"),
    "bullet": (r"^\s*[-*•]\s", "in a bulleted line"),
    "heading": (r"^\s*#{1,6}\s|^\s*\*\*[^*]+\*\*:?\s*$", "in a heading"),
    "digits": (r"\d[^\n]{0,6}$", "just after a number"),
    "equation": (r"[\d)\w]\s*[=+*/×÷<>]\s*[\d(\w]?[^\n]{0,12}$", "in a calculation"),
    "quotation": (r"[\"“'‘][^\"”'’\n]{1,60}$", "inside a quotation"),
    "code": (r"`[^`\n]*$|^\s*(?:def|class|import|return|for|while)\s", "in code"),
    "sentence start": (r"(?:^|[.!?:]\s+)\W*\w*$", "at the start of a sentence"),
    "sentence end": (r"[.!?:]\W*$", "at the end of a sentence"),
    "clause": (r",\s*\w*$", "after a comma"),
    "first person": (r"\b(?:I|I'm|I'd|my|me)\b[^.!?\n]*$", "in a first-person clause"),
    "second person": (r"\b(?:you|your)\b[^.!?\n]*$", "in a second-person clause"),
    "negation": (r"\b(?:not|no|never|cannot|n't)\b[^.!?\n]*$", "in a negated clause"),
    "modal": (r"\b(?:may|might|could|would|should|can|must)\b[^.!?\n]*$", "after a modal verb"),
}
"""name -> (pattern that is searched in the line up to and including the position, phrase)."""

QUESTION_PATTERNS: Mapping[str, tuple[str, str]] = {
    "quantities": (r"\d[^\d]+\d", "problems that give quantities"),
    "amount asked": (r"\bhow (?:many|much|long|far|old)\b", "questions for an amount"),
    "conditional": (r"\bif\b", "conditional questions"),
    "universal": (r"\b(?:all|every|each|no|none|only|some)\b", "statements about all, some or none"),
    "why": (r"\bwhy\b|\bcause|\bexplain", "questions for a reason"),
    "hypothetical": (r"\b(?:suppose|imagine|had|were|would|what if)\b", "hypothetical questions"),
    "comparison": (r"\b(?:than|as .{1,20} as|compare|like|is to)\b", "comparisons"),
    "chance": (r"\b(?:chance|probab\w*|likely|percent|random|odds|dice|coin)\b|%", "questions of chance"),
    "procedure": (r"\b(?:first|then|next|after|before)\b", "questions about an order of events"),
    "request": (
        r"^(?:write|describe|list|name|give|tell|rewrite|summari[sz]e|suggest|make)\b",
        "plain requests",
    ),
    "question mark": (r"\?\s*$", "direct questions"),
    "names": (r"(?<=[a-z,;] )[A-Z][a-z]+", "questions that name people or places"),
}
"""name -> (pattern that is searched in the prompt or control text, phrase). Only `names` is case-sensitive."""

SEQUENCE_PARTS: Mapping[str, str] = {
    "start": "at the start of an answer",
    "opening": "in the first words of an answer",
    "later": "later in an answer",
    "question": "within a question",
}
"""name -> phrase."""
OPENING_TOKENS = 5
"""Tokens of an answer that count as its opening."""


@dataclass(frozen=True)
class Predicate:
    """One atom, or two joined by `and` / `or`."""

    kind: Atom | Literal["and", "or"]
    value: tuple[str, ...] = ()
    parts: tuple[Predicate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The predicate as stored."""
        if self.parts:
            return {"kind": self.kind, "parts": [part.to_json() for part in self.parts]}
        return {"kind": self.kind, "value": list(self.value)}

    @property
    def lexical(self) -> bool:
        """Whether it depends on the token itself, alone or joined with something else."""
        if self.parts:
            return any(part.lexical for part in self.parts)
        return self.kind in ("token", "next")

    @property
    def phrase(self) -> str:
        """The name that the predicate stands for."""
        if self.kind == "and":
            order = ("place", "line", "token", "next", "question")
            return " ".join(
                part.phrase for part in sorted(self.parts, key=lambda part: order.index(part.kind))
            )
        if self.kind == "or":
            return " or ".join(part.phrase for part in self.parts)
        if self.kind in ("token", "next"):
            words = ", ".join(f"'{word}'" for word in self.value[:3])
            return f"{'on' if self.kind == 'token' else 'before'} {words}"
        if self.kind == "line":
            return LINE_PATTERNS[self.value[0]][1]
        if self.kind == "question":
            return f"with {QUESTION_PATTERNS[self.value[0]][1]}"
        return SEQUENCE_PARTS[self.value[0]]


class Contexts:
    """What predicates test, for every row of an extraction: words, the line so far, the question, the sequence part."""

    def __init__(self, extraction: Extraction) -> None:
        rows = extraction.rows
        self.words = np.asarray([_word(extraction.token_text.get(int(token), "")) for token in rows.token])
        self.next_words = np.asarray(
            [_word(extraction.token_text.get(int(token), "")) for token in rows.next_token]
        )
        self._rows = rows
        self._lines = _lines(extraction)
        units = extraction.units
        self._questions = {
            **{(unit, False): text for unit, text in enumerate(units.questions)},
            **{(unit, True): text for unit, text in enumerate(units.controls)},
        }  # (unit, is control) -> the prompt's text
        self._cache: dict[Predicate, BoolArray] = {}

    def evaluate(self, predicate: Predicate) -> BoolArray:
        """(N,) where the predicate holds."""
        if predicate not in self._cache:
            self._cache[predicate] = self._evaluate(predicate)
        return self._cache[predicate]

    def _evaluate(self, predicate: Predicate) -> BoolArray:
        rows = self._rows
        match predicate.kind:
            case "and":
                return np.asarray(np.logical_and.reduce([self.evaluate(part) for part in predicate.parts]))
            case "or":
                return np.asarray(np.logical_or.reduce([self.evaluate(part) for part in predicate.parts]))
            case "token":
                return np.isin(self.words, predicate.value)
            case "next":
                return np.isin(self.next_words, predicate.value)
            case "line":
                pattern = re.compile(LINE_PATTERNS[predicate.value[0]][0], re.IGNORECASE)
                return np.asarray([pattern.search(line) is not None for line in self._lines])
            case "question":
                name = predicate.value[0]
                pattern = re.compile(QUESTION_PATTERNS[name][0], 0 if name == "names" else re.IGNORECASE)
                hits = {key: pattern.search(text) is not None for key, text in self._questions.items()}
                return np.asarray([hits[key] for key in zip(rows.unit, rows.author == CONTROL, strict=True)])
            case "place":
                return self._in_part(predicate.value[0])

    def _in_part(self, name: str) -> BoolArray:
        """(N,) which rows are in a part of the sequence."""
        rows = self._rows
        if name == "start":
            return np.asarray(rows.position_class == START)
        if name == "question":
            return np.asarray(rows.position_class == PROMPT)
        early = np.zeros(rows.n, dtype=bool)
        answer = np.flatnonzero(rows.position_class == RESPONSE)
        first = np.full(int(rows.sequence.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, rows.sequence[answer], rows.position[answer])
        early[answer] = rows.position[answer] < first[rows.sequence[answer]] + OPENING_TOKENS
        return early if name == "opening" else (rows.position_class == RESPONSE) & ~early


def atoms_without_words() -> list[Predicate]:
    """All atoms that need no vocabulary."""
    return [
        *(Predicate("line", (name,)) for name in LINE_PATTERNS),
        *(Predicate("question", (name,)) for name in QUESTION_PATTERNS),
        *(Predicate("place", (name,)) for name in SEQUENCE_PARTS),
    ]


def _word(piece: str) -> str:
    return piece.strip().casefold()


def _lines(extraction: Extraction) -> list[str]:
    """The line of text up to and including each row's token, within its sequence and position class."""
    rows = extraction.rows
    lines = [""] * rows.n
    order = np.lexsort((rows.position, rows.position_class, rows.sequence))
    current, key = "", (-1, -1)
    for row in order:
        here = (int(rows.sequence[row]), int(rows.position_class[row]))
        if here != key:
            current, key = "", here
        piece = extraction.token_text.get(int(rows.token[row]), "")
        current = (current + piece).rsplit("\n", 1)[-1] if piece.strip() else current + piece
        lines[row] = current[-200:]
        if piece.endswith("\n"):
            current = ""
    return lines
