"""Accuracy: score intervals, the paired difference and its test against known values, what counts as right, Holm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from analyze.pair.accuracy import Answer, Question, accuracy_rows
from analyze.stats import holm
from analyze.stats.shares import effective_number, paired_interval, paired_p, share_interval
from fi_store.method import METHOD

RIGHT, WRONG, UNREAD = Answer(True, True), Answer(False, True), Answer(None, True)


def separate(n: int) -> np.ndarray:
    """Every prompt in a cluster of its own."""
    return np.arange(n)


def question(
    cluster: int,
    base: Answer,
    target: Answer,
    *,
    difficulty: int | None = 1,
    category: str = "sums",
    chance: float = 0.0,
) -> Question:
    return Question(cluster, category, difficulty, chance, base, target)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (2, 10), (7, 9), (30, 30)])
def test_separate_prompts_give_wilsons_interval(right: int, n: int) -> None:
    low, high = share_interval(np.array([1.0] * right + [0.0] * (n - right)), separate(n))
    known = binomtest(right, n).proportion_ci(method="wilson")
    assert low == pytest.approx(known.low, abs=1e-12)
    assert high == pytest.approx(known.high, abs=1e-12)


def test_never_right_is_exactly_zero_and_still_has_a_width() -> None:
    low, high = share_interval(np.zeros(10), separate(10))
    assert low == 0.0
    assert high == pytest.approx(0.2775, abs=1e-4)  # z^2 / (n + z^2)


def test_copies_of_a_prompt_add_no_information() -> None:
    values = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    assert share_interval(np.repeat(values, 4), np.repeat(separate(5), 4)) == pytest.approx(
        share_interval(values, separate(5))
    )
    assert paired_interval(np.repeat(values, 3), np.repeat(separate(5), 3)) == pytest.approx(
        paired_interval(values, separate(5))
    )
    assert effective_number(np.array([7, 7, 7, 2])) == pytest.approx(16 / 10)


def test_the_paired_interval_by_hand() -> None:
    """5 prompts gained, 1 lost, 14 the same: (6 - 2) / 22 +- 1.96 sqrt((8 / 22 - (4 / 22)^2) / 22)."""
    low, high = paired_interval(np.array([1.0] * 5 + [-1.0] + [0.0] * 14), separate(20))
    half = 1.959964 * math.sqrt((8 / 22 - (4 / 22) ** 2) / 22)
    assert (low, high) == pytest.approx((4 / 22 - half, 4 / 22 + half), abs=1e-6)
    low, high = paired_interval(np.zeros(20), separate(20))
    assert -high == low < 0
    assert paired_interval(np.ones(3), separate(3))[1] == 1.0


def test_mcnemar_counts_clusters() -> None:
    assert paired_p(np.array([1.0] * 5 + [-1.0] + [0.0] * 14), separate(20)) == pytest.approx(2 * 7 / 64)
    # Six discordant prompts of one family are one discordant pair.
    assert paired_p(np.array([1.0] * 6 + [0.0]), np.array([0] * 6 + [1])) == 1.0
    assert paired_p(np.zeros(4), separate(4)) == 1.0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_limits_include_the_estimate_and_swapping_flips_the_difference(
    drawn: list[tuple[int, bool, bool]],
) -> None:
    made = [question(cluster, Answer(b, True), Answer(t, True)) for cluster, b, t in drawn]
    turned = [question(q.cluster, q.target, q.base) for q in made]
    row, other = accuracy_rows(made)[0], accuracy_rows(turned)[0]
    for side in ("base", "target"):
        assert 0 <= row[f"{side}_low"] <= row[f"{side}_accuracy"] <= row[f"{side}_high"] <= 1
    assert row["difference_low"] - 1e-12 <= row["difference"] <= row["difference_high"] + 1e-12
    assert other["difference"] == pytest.approx(-row["difference"])
    assert other["difference_low"] == pytest.approx(-row["difference_high"])
    assert other["p_value"] == row["p_value"]


def test_unread_and_cut_off_answers_are_counted_separately() -> None:
    made = [
        question(0, RIGHT, Answer(None, False)),
        question(1, Answer(True, False), WRONG),
        question(2, UNREAD, Answer(False, False), chance=0.5),
        question(3, WRONG, RIGHT, chance=0.25),
    ]
    row = accuracy_rows(made)[0]
    assert (row["part"], row["name"], row["n_prompts"], row["n_clusters"]) == ("all", "*", 4, 4)
    assert row["base_accuracy"] == 0.5
    assert row["target_accuracy"] == 0.25
    assert row["chance"] == pytest.approx(0.75 / 4)
    counts = [
        [row[f"{side}_{name}"] for name in ("right", "wrong", "unread", "cut_off", "right_cut_off")]
        for side in ("base", "target")
    ]
    assert counts == [[2, 1, 1, 1, 1], [1, 2, 1, 2, 0]]


def test_rows_by_difficulty_and_category_and_groups_too_small_to_test() -> None:
    enough, few = METHOD.min_category_clusters, METHOD.min_category_clusters - 1
    made = [question(i, WRONG, RIGHT, difficulty=1, category="sums") for i in range(enough)]
    made += [question(100 + i, RIGHT, RIGHT, difficulty=3, category="sets") for i in range(few)]
    made.append(question(200, RIGHT, RIGHT, difficulty=None, category="sets"))
    rows = {(row["part"], row["name"]): row for row in accuracy_rows(made)}
    assert list(rows) == [
        ("all", "*"), ("difficulty", "1"), ("difficulty", "3"), ("category", "sets"), ("category", "sums"),
    ]  # fmt: skip
    assert rows["difficulty", "3"]["p_value"] is None
    assert rows["difficulty", "3"]["note"] == "too few clusters for a p value (7 < 8)"
    assert rows["category", "sets"]["n_prompts"] == enough
    # 8 of 8 gained: p = 2 / 256 for all, difficulty 1 and sums; 1 for sets. A family of four, and three of one p.
    assert rows["all", "*"]["p_value"] == pytest.approx(2 / 256)
    assert rows["all", "*"]["p_adjusted"] == pytest.approx(4 * 2 / 256)
    assert rows["category", "sums"]["p_adjusted"] == pytest.approx(4 * 2 / 256)
    assert rows["category", "sets"]["p_adjusted"] == 1.0
    assert rows["difficulty", "3"]["p_adjusted"] is None


def test_no_questions_make_no_rows() -> None:
    assert accuracy_rows([]) == []


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.5])) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])


def test_the_intervals_cover_under_families() -> None:
    """Coverage of a true 30% in 2,000 draws of 12 families of 1 to 4 equal prompts: at least 93% (sd 0.5%)."""
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(12), [1, 2, 3, 4] * 3)
    covered = 0
    for _ in range(2_000):
        low, high = share_interval((random.random(12) < 0.3).astype(float)[clusters], clusters)
        covered += low <= 0.3 <= high
    assert covered / 2_000 >= 0.93
