"""Whole words for token pieces: what a person reads when a tokenizer splits "Premise" into "Prem" and "ise".

A piece stands for the word that it belongs to most often in this run's texts; if it occurs in none, it keeps its own
letters. Words that differ only in case are merged; pieces of undecodable bytes are dropped.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analyze.extraction import Extraction

WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True)
class Words:
    """The word that each token of a run usually belongs to."""

    usual: Mapping[int, str]
    text: Mapping[int, str]  # of every token that the run mentions

    def summed(self, pushes: Iterable[Mapping[int, float]]) -> list[tuple[str, float]]:
        """Words with their nats, summed over tokens and over `pushes` (token id -> nats); largest first."""
        nats: dict[str, float] = defaultdict(float)
        written: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for each in pushes:
            for token, value in each.items():
                word = self.usual.get(token, self.text.get(token, "").strip())
                if word and "\ufffd" not in word:
                    nats[word.casefold()] += value
                    written[word.casefold()][word] += abs(value)
        spelled = {key: min(forms, key=lambda form: (-forms[form], form)) for key, forms in written.items()}
        return sorted(
            ((spelled[key], value) for key, value in nats.items()), key=lambda item: (-item[1], item[0])
        )


def find_words(extraction: Extraction, text: Mapping[int, str]) -> Words:
    """The words in a run's questions and answers. `text`: of every token that is mentioned anywhere."""
    rows = extraction.rows
    by_token: dict[int, Counter[str]] = defaultdict(Counter)
    order = np.lexsort((rows.position, rows.sequence))
    for part in np.split(order, np.flatnonzero(np.diff(rows.sequence[order])) + 1):
        tokens = [int(token) for token in rows.token[part]]
        for token, word in zip(tokens, _words_of([text.get(token, "") for token in tokens]), strict=True):
            by_token[token][word] += 1
    usual = {token: min(counts, key=lambda word: (-counts[word], word)) for token, counts in by_token.items()}
    return Words(usual, text)


def _words_of(pieces: list[str]) -> list[str]:
    """For each piece, the word in the joined text that holds its first visible character, or its own letters."""
    whole = "".join(pieces)
    spans = [(match.start(), match.end()) for match in WORD.finditer(whole)]
    found, offset, span = [], 0, 0
    for piece in pieces:
        at = offset + len(piece) - len(piece.lstrip())
        while span < len(spans) and spans[span][1] <= at:
            span += 1
        inside = span < len(spans) and spans[span][0] <= at < spans[span][1]
        found.append(whole[slice(*spans[span])] if inside else piece.strip())
        offset += len(piece)
    return found
