"""Whole words for token pieces: what a person reads when a tokenizer splits "Premise" into "Prem" and "ise".

A piece that is the text's real next token stands for its word in that text. Any other piece stands for the word that it
belongs to most often in this run's texts; if it occurs in none, it keeps its own letters. Words that differ only in
case are merged; pieces of undecodable bytes are dropped (index 0, the empty word).
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
    """Whether a word has a letter or digit and is neither an English function word (scikit-learn's list) nor a special
    token."""
    special = word.startswith("<") and word.endswith(">")
    return not special and WORD.search(word) is not None and word.casefold() not in ENGLISH_STOP_WORDS


@dataclass(frozen=True)
class Words:
    """The words of a run, and the words that the listed tokens of every row stand for."""

    spellings: list[str]  # index -> the word as it is written most often
    of_row: IntArray  # (N,) index of the word that the row's token belongs to
    promoted: IntArray  # (N, 20) indices, for `Rows.promoted_ids`
    suppressed: IntArray  # (N, 20)


def find_words(extraction: Extraction) -> Words:
    """The words in a run's questions and answers."""
    rows, text = extraction.rows, extraction.token_text
    of_row = [""] * rows.n  # the word that contains the row's token
    following = [""] * rows.n  # the word that contains the next token
    by_token: dict[int, Counter[str]] = defaultdict(Counter)
    order = np.lexsort((rows.position, rows.sequence))
    for part in np.split(order, np.flatnonzero(np.diff(rows.sequence[order])) + 1):
        found = _words_of([text.get(int(token), "") for token in rows.token[part]])
        for at, row in enumerate(part):
            of_row[row] = found[at]
            by_token[int(rows.token[row])][found[at]] += 1
            if at + 1 < len(part) and rows.position[part[at + 1]] == rows.position[row] + 1:
                following[row] = found[at + 1]
    usual = {token: min(counts, key=lambda word: (-counts[word], word)) for token, counts in by_token.items()}
    return _indexed(extraction, usual, of_row, following)


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


def _indexed(extraction: Extraction, usual: dict[int, str], of_row: list[str], following: list[str]) -> Words:
    """Numbers the words, merged by case. `usual`: token -> its most frequent word."""
    rows, text = extraction.rows, extraction.token_text
    numbers: dict[str, int] = {"": 0}
    forms: dict[int, Counter[str]] = defaultdict(Counter)

    def number(word: str) -> int:
        word = "" if "\ufffd" in word else word
        index = numbers.setdefault(word.casefold(), len(numbers))
        forms[index][word] += 1
        return index

    row_index, next_index = (np.asarray([number(word) for word in side]) for side in (of_row, following))
    tables = []
    for ids in (rows.promoted_ids, rows.suppressed_ids):
        tokens, inverse = np.unique(ids, return_inverse=True)
        index = np.asarray([number(usual.get(int(t), text.get(int(t), "").strip())) for t in tokens])
        table = index[inverse].reshape(ids.shape)
        real = (ids == rows.next_token[:, None]) & (next_index[:, None] > 0)
        tables.append(np.where(real, next_index[:, None], table))
    spellings = [
        min(forms[i], key=lambda word: (-forms[i][word], word)) if i else "" for i in range(len(numbers))
    ]
    return Words(spellings, row_index, tables[0], tables[1])
