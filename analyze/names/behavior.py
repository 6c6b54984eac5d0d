"""Whether the words that a group pushes really occur in the models' own answers: rates on C with McNemar's test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyze.extraction import START, BoolArray, Extraction
from analyze.stats import mcnemar

MAX_WORDS = 3


@dataclass(frozen=True)
class WordRates:
    """How often each model's own answers hold a group's words, over the prompts of C."""

    words: tuple[str, ...]
    opening: bool  # the answer begins with one of the words, rather than containing one
    rate_base: float
    rate_target: float
    p_value: float

    @property
    def phrase(self) -> str:
        """'begin with 'Step' or 'First''."""
        words = " or ".join(f"'{word}'" for word in self.words)
        return f"begin with {words}" if self.opening else f"contain {words}"


def check_behavior(
    extraction: Extraction,
    answers: dict[str, list[str]],
    words: Sequence[str],
    position_class: int,
    direction: int,
) -> WordRates | None:
    """Chooses on D how many of the strongest words to look for, then counts once on C; None without words.

    `answers`: reader -> its own answer to every unit, in the order of units.
    """
    opening = position_class == START
    words = [word for word in words if re.search(r"\w", word)]
    choices = [tuple(words[:size]) for size in range(1, min(MAX_WORDS, len(words)) + 1)]
    if not choices:
        return None
    discovery = extraction.units.discovery

    def holds(reader: str, wanted: tuple[str, ...]) -> BoolArray:
        pattern = re.compile("|".join(_pattern(word, opening) for word in wanted), re.IGNORECASE)
        return np.asarray([pattern.search(text) is not None for text in answers[reader]])

    def gap(wanted: tuple[str, ...]) -> float:
        return direction * float(
            holds("target", wanted)[discovery].mean() - holds("base", wanted)[discovery].mean()
        )

    best = max(choices, key=gap)
    base, target = holds("base", best)[~discovery], holds("target", best)[~discovery]
    return WordRates(best, opening, float(base.mean()), float(target.mean()), mcnemar(base, target))


def _pattern(word: str, opening: bool) -> str:
    start = r"\A\W*" if opening else r"(?<!\w)"
    return start + re.escape(word) + (r"(?!\w)" if word[-1].isalnum() else "")
