"""Whole words for token pieces: what a person reads when a tokenizer says 'Prem' + 'ise'.

A piece that a text really goes on with stands for the word that it belongs to there; any other piece for the word
that it belongs to most often in this run's texts. A piece that no text holds keeps its own letters. Words are merged
by case; pieces of undecodable bytes are dropped (index 0, the empty word).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from analyze.extraction import Extraction, IntArray

WORD = re.compile(r"\w+(?:['’]\w+)*")


def is_content(word: str) -> bool:
    """A word with a letter or digit that is no English function word (scikit-learn's list) and no special token."""
    special = word.startswith("<") and word.endswith(">")
    return not special and WORD.search(word) is not None and word.casefold() not in ENGLISH_STOP_WORDS


@dataclass(frozen=True)
class Words:
    """The words of a run and, for every row, which words its listed tokens stand for."""

    shown: list[str]  # index -> the word as it is written most often
    own: IntArray  # (N,) index of the word that the row's token belongs to
    promoted: IntArray  # (N, 20) indices, for `Rows.promoted_ids`
    suppressed: IntArray  # (N, 20)


def find_words(extraction: Extraction) -> Words:
    """Reads the words off the texts of both answers (and the questions) of a run."""
    rows, text = extraction.rows, extraction.token_text
    own = [""] * rows.n  # the word that contains the token at each row
    following = [""] * rows.n  # the word that contains the token after it
    by_token: dict[int, Counter[str]] = defaultdict(Counter)
    order = np.lexsort((rows.position, rows.sequence))
    for part in np.split(order, np.flatnonzero(np.diff(rows.sequence[order])) + 1):
        found = _words_of([text.get(int(token), "") for token in rows.token[part]])
        for at, row in enumerate(part):
            own[row] = found[at]
            by_token[int(rows.token[row])][found[at]] += 1
            if at + 1 < len(part) and rows.position[part[at + 1]] == rows.position[row] + 1:
                following[row] = found[at + 1]
    usual = {token: min(seen, key=lambda word: (-seen[word], word)) for token, seen in by_token.items()}
    return _indexed(extraction, usual, own, following)


def _words_of(pieces: list[str]) -> list[str]:
    """For each piece the word of the joined text that its first visible character lies in, else its own letters."""
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


def _indexed(extraction: Extraction, usual: dict[int, str], own: list[str], following: list[str]) -> Words:
    rows, text = extraction.rows, extraction.token_text
    numbers: dict[str, int] = {"": 0}
    forms: dict[int, Counter[str]] = defaultdict(Counter)

    def number(word: str) -> int:
        word = "" if "\ufffd" in word else word
        index = numbers.setdefault(word.casefold(), len(numbers))
        forms[index][word] += 1
        return index

    own_index, next_index = (np.asarray([number(word) for word in side]) for side in (own, following))
    tables = []
    for ids in (rows.promoted_ids, rows.suppressed_ids):
        tokens, place = np.unique(ids, return_inverse=True)
        index = np.asarray([number(usual.get(int(t), text.get(int(t), "").strip())) for t in tokens])
        table = index[place].reshape(ids.shape)
        real = (ids == rows.next_token[:, None]) & (next_index[:, None] > 0)
        tables.append(np.where(real, next_index[:, None], table))
    shown = [
        min(forms[i], key=lambda word: (-forms[i][word], word)) if i else "" for i in range(len(numbers))
    ]
    return Words(shown, own_index, tables[0], tables[1])
