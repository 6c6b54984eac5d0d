"""What an analysis asks a language model about a finding, and the form of the reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, field_validator

from fi_store.vocabulary import Side

PHRASE_WORDS = 12
WORDS = (2, 8)
"""Fewest and most words of a proposal."""
PROPOSALS = 3


@dataclass(frozen=True)
class AnswerPair:
    """A prompt with both models' answers."""

    prompt: str
    base: str
    target: str


@dataclass(frozen=True)
class NameRequest:
    """A finding as the discovery half shows it; nothing here comes from the confirmation half."""

    side: Side  # whose answers it changes
    title: str | None  # of its behavior
    promoted: tuple[str, ...]  # words that the target gains by it, strongest first
    suppressed: tuple[str, ...]
    windows: tuple[str, ...]  # text around tokens where it acts
    answers: tuple[AnswerPair, ...]


class Proposal(BaseModel):
    """A name, and the words by which it can be tested."""

    phrase: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=120)]
    words: list[Annotated[str, StringConstraints(pattern=r"^\w+(?:['’]\w+)*$", max_length=40)]]

    @field_validator("phrase")
    @classmethod
    def _short(cls, value: str) -> str:
        if len(value.split()) > PHRASE_WORDS or not value.isprintable():
            raise ValueError(f"must be one line of at most {PHRASE_WORDS} words")
        return value

    @field_validator("words")
    @classmethod
    def _different(cls, value: list[str]) -> list[str]:
        """The words without case, each once."""
        words = list(dict.fromkeys(word.casefold() for word in value))
        if not WORDS[0] <= len(words) <= WORDS[1]:
            raise ValueError(f"must be {WORDS[0]} to {WORDS[1]} different words")
        return words


class Proposals(BaseModel):
    """A whole reply."""

    proposals: list[Proposal] = Field(min_length=1, max_length=PROPOSALS)


Propose = Callable[[NameRequest], Sequence[Proposal]]
"""Asks the model; raises NamingError if its reply cannot be used, SilentModelError if it cannot be asked at all."""
