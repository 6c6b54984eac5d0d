"""The gap and what patches close of it, against values computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.causal.gap import measure_gap, token_effects
from analyze.extraction import AnswerTokens, Extraction
from fi_store.vocabulary import SIDES, Side
from tests.helpers.synthetic import NATS, make, swapped

DATA = make(n_units=6)
LOGPROBS = st.lists(st.floats(-20, 0), min_size=0, max_size=6)


def tokens(values: list[float]) -> AnswerTokens:
    return AnswerTokens(np.asarray(values, dtype=np.float64), np.arange(1, len(values) + 1))


def with_answers(answers: dict[tuple[int, Side, Side], list[float]]) -> Extraction:
    return replace(DATA.extraction, answers={key: tokens(values) for key, values in answers.items()})


def test_the_gap_by_hand() -> None:
    """The base splits its own answer into three tokens, the target into one: n is two."""
    gap = measure_gap(
        with_answers(
            {
                (0, "base", "base"): [-1.0, -1.0, -1.0],
                (0, "base", "target"): [-7.0],
                (0, "target", "target"): [-2.0, -2.0],
                (0, "target", "base"): [-5.0, -4.0],
            }
        )
    )
    # l_t(y_t) = -4/2, l_t(y_b) = -7/2, l_b(y_b) = -3/2, l_b(y_t) = -9/2.
    assert gap.halves["target"][0] == pytest.approx((-2 + 3.5) / 2)
    assert gap.halves["base"][0] == pytest.approx((-1.5 + 4.5) / 2)
    assert gap.total[0] == pytest.approx(2.25)
    assert gap.known.tolist() == [True] + [False] * 5
    assert np.isnan(gap.total[1:]).all()


def test_equal_and_empty_answers_have_no_gap() -> None:
    same = {(0, author, reader): [-1.0, -2.0] for author in SIDES for reader in SIDES}
    empty: dict[tuple[int, Side, Side], list[float]] = {
        (1, author, reader): [] for author in SIDES for reader in SIDES
    }
    gap = measure_gap(with_answers({**same, **empty}))
    assert gap.total[:2].tolist() == [0.0, 0.0]
    assert not measure_gap(with_answers({})).known.any()


def test_the_planted_gap() -> None:
    rows = DATA.extraction.rows
    expected = np.bincount(rows.unit[DATA.planted], minlength=6) * NATS / 16
    np.testing.assert_allclose(measure_gap(DATA.extraction).total, expected, atol=1e-12)


@given(st.tuples(*[LOGPROBS] * 4))
def test_swapping_the_pair_leaves_the_gap(values: tuple[list[float], ...]) -> None:
    keys = [(author, reader) for author in SIDES for reader in SIDES]
    other: dict[Side, Side] = {"base": "target", "target": "base"}
    answers = {(0, a, r): v for (a, r), v in zip(keys, values, strict=True)}
    mirrored = {(u, other[a], other[r]): v for (u, a, r), v in answers.items()}
    one, two = measure_gap(with_answers(answers)), measure_gap(with_answers(mirrored))
    np.testing.assert_array_equal(one.total, two.total)
    np.testing.assert_array_equal(one.halves["base"], two.halves["target"])


def test_swapped_data_has_the_same_gap() -> None:
    np.testing.assert_array_equal(
        measure_gap(DATA.extraction).total, measure_gap(swapped(DATA).extraction).total
    )


def test_what_a_patch_takes_from_its_own_answer_and_gives_to_the_other() -> None:
    clean: dict[tuple[int, Side], np.ndarray] = {
        (0, "base"): np.asarray([-1.0, -2.0]),
        (0, "target"): np.asarray([-3.0]),
        (1, "base"): np.asarray([-1.0]),
    }
    patched: dict[tuple[int, Side], np.ndarray] = {
        (0, "base"): np.asarray([-1.5, -2.0]),
        (0, "target"): np.asarray([-1.0]),
    }
    effects = token_effects(clean, patched, "base")
    assert {key: value.tolist() for key, value in effects.items()} == {
        (0, "base"): [0.5, 0.0],
        (0, "target"): [2.0],
    }
    assert token_effects(clean, patched, "target")[0, "target"].tolist() == [-2.0]


def test_closed_is_the_difference_of_a_half_of_the_gap() -> None:
    """A of the target, measured again after its log-probabilities changed."""
    gap = measure_gap(DATA.extraction)
    random = np.random.default_rng(0)
    clean = {(u, a): DATA.extraction.answers[u, a, "target"].logprobs for u in range(6) for a in SIDES}
    patched = {key: value - random.random(len(value)) for key, value in clean.items()}
    again = {**DATA.extraction.answers}
    for (unit, author), values in patched.items():
        again[unit, author, "target"] = replace(again[unit, author, "target"], logprobs=values)
    changed = measure_gap(replace(DATA.extraction, answers=again))
    closed = gap.closed(token_effects(clean, patched, "target"), 6)
    np.testing.assert_allclose(closed, gap.halves["target"] - changed.halves["target"], atol=1e-12)


def test_a_unit_with_one_answer_read_has_no_figure() -> None:
    gap = measure_gap(DATA.extraction)
    closed = gap.closed({(0, "base"): np.ones(8), (1, "base"): np.ones(8), (1, "target"): np.ones(8)}, 6)
    assert np.isnan(closed[[0, 2, 3, 4, 5]]).all()
    assert closed[1] == pytest.approx(1)
