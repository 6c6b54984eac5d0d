"""Whole words for token pieces, and the words that a patch pushes: told alike from either model's side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analyze.causal import Reading
from analyze.names import Words, find_words, pushed_words
from fi_store.vocabulary import Side
from tests.helpers.synthetic import WORDS, make

PIECES = {1: " Prem", 2: "ise", 3: "prem", 4: " Step", 5: "step", 6: ",", 7: "\ufffd", 8: "  ", 9: " the"}
TABLE = Words({1: "Premise", 2: "Premise", 4: "Step", 5: "step"}, PIECES)


def test_pieces_count_for_their_words_and_case_is_merged() -> None:
    summed = TABLE.summed([{1: 0.2, 2: 0.3}, {4: 0.4, 5: 0.3, 9: -0.1, 3: 0.05}])
    assert [word for word, _ in summed] == ["Step", "Premise", "prem", "the"]
    np.testing.assert_allclose([nats for _, nats in summed], [0.7, 0.5, 0.05, -0.1])
    # The spelling that weighs more is shown, whatever its sign.
    assert TABLE.summed([{4: 0.1, 5: -0.4}])[0][0] == "step"


def test_undecodable_and_empty_pieces_are_dropped() -> None:
    assert TABLE.summed([{7: 1.0, 8: 1.0, 99: 1.0}]) == []
    assert TABLE.summed([]) == []


def reading(up: dict[int, float], down: dict[int, float]) -> Reading:
    return Reading({}, {(0, "base"): up, (1, "target"): down})


def test_what_a_patch_takes_from_the_target_is_what_the_target_gains() -> None:
    one = reading({4: 0.5, 9: 0.1, 6: 0.9}, {1: -0.4, 5: 0.2})
    promoted, suppressed = pushed_words(one, "target", TABLE, range(2))
    assert [word for word, _ in promoted] == ["Step", "the"]
    assert suppressed == [("Premise", 0.4)]
    # From the base the same patch is given: what it takes there the target loses.
    assert pushed_words(one, "base", TABLE, range(2)) == (suppressed, promoted)
    assert pushed_words(one, "target", TABLE, [1]) == ([("step", 0.2)], suppressed)
    assert pushed_words(one, "target", TABLE, []) == ([], [])
    assert pushed_words(one, "target", TABLE, range(2), limit=1)[0] == promoted[:1]


def test_marks_are_listed_only_where_there_are_no_words() -> None:
    only: Side = "target"
    assert pushed_words(reading({6: 0.5}, {}), only, TABLE, range(2))[0] == [(",", 0.5)]


def test_special_tokens_are_no_words() -> None:
    special = replace(TABLE, text={**PIECES, 10: "<|im_end|>"})
    assert pushed_words(reading({10: 0.9, 6: 0.5}, {}), "target", special, range(2))[0] == [(",", 0.5)]
    assert pushed_words(reading({10: 0.9}, {}), "target", special, range(2))[0] == []


def test_a_piece_stands_for_the_word_that_it_is_most_often_in() -> None:
    extraction = make(n_units=4).extraction
    rows = extraction.rows
    token = np.tile(np.asarray([1, 2, 9]), rows.n)[: rows.n]
    first = np.flatnonzero(np.diff(rows.sequence, prepend=-1))
    for start, end in zip(first, [*first[1:], rows.n], strict=True):
        token[start:end] = np.tile([1, 2, 9], end)[: end - start]
    words = find_words(replace(extraction, rows=replace(rows, token=token)), PIECES)
    assert words.usual == {1: "Premise", 2: "Premise", 9: "the"}
    assert find_words(extraction, dict(enumerate(WORDS))).usual[5] == "."
