"""The significance tests: level, power, correction, and agreement with slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analyze.stats import (
    category_contrasts,
    cluster_means,
    confirm,
    explore,
    mcnemar,
    pooled_fdr,
    strata_of,
    within_strata,
)
from analyze.stats.significance import benjamini_hochberg


def test_cluster_means_weigh_the_units_of_a_cluster_equally() -> None:
    values = np.asarray([[1.0], [3.0], [10.0]])
    assert cluster_means(values, np.asarray([5, 5, 2])).tolist() == [[10.0], [2.0]]


def test_confirm_finds_a_strong_effect_and_leaves_noise() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(0, 1, (60, 5))
    scores[:, 0] -= 1.5
    result = confirm(scores, np.asarray([-1.0, 1, 1, 1, 1]), np.full(5, 0.05), np.ones(5, bool), seed=1)
    assert result.p_adjusted[0] <= 0.001
    assert (result.p_adjusted[1:] > 0.05).all()
    assert (result.p_adjusted >= result.p_value).all()


def test_confirm_is_the_same_from_the_other_side() -> None:
    scores = np.random.default_rng(0).normal(0.3, 1, (40, 4))
    signs = np.asarray([1.0, 1, -1, 1])
    once = confirm(scores, signs, np.full(4, 0.1), np.ones(4, bool), seed=3)
    mirrored = confirm(-scores, -signs, np.full(4, 0.1), np.ones(4, bool), seed=3)
    np.testing.assert_array_equal(once.p_adjusted, mirrored.p_adjusted)
    np.testing.assert_array_equal(once.statistic, mirrored.statistic)


def test_confirm_does_not_reject_an_effect_below_the_floor() -> None:
    scores = np.random.default_rng(0).normal(0.2, 0.3, (200, 1))
    assert confirm(scores, np.ones(1), np.zeros(1), np.ones(1, bool), 0).p_adjusted[0] < 0.001
    assert confirm(scores, np.ones(1), np.full(1, 0.25), np.ones(1, bool), 0).p_adjusted[0] > 0.5


def test_confirm_holds_its_family_level() -> None:
    """120 null families of 6: rejections ~ Binomial(120, <= 0.05); more than 14 has probability < 0.001."""
    random = np.random.default_rng(7)
    rejected = 0
    for seed in range(120):
        scores = random.standard_t(5, (30, 6))
        rejected += bool(
            (confirm(scores, np.ones(6), np.zeros(6), np.ones(6, bool), seed).p_adjusted <= 0.05).any()
        )
    assert rejected <= 14


def test_confirm_leaves_out_the_ineligible() -> None:
    scores = np.random.default_rng(0).normal(2, 1, (30, 2))
    result = confirm(scores, np.ones(2), np.zeros(2), np.asarray([True, False]), 0)
    assert result.p_value[0] < 0.01
    assert np.isnan(result.p_value[1])
    assert np.isnan(confirm(scores, np.ones(2), np.zeros(2), np.zeros(2, bool), 0).p_value).all()


@given(
    sizes=st.lists(st.integers(8, 14), min_size=1, max_size=4),
    small=st.lists(st.integers(1, 7), max_size=3),
    seed=st.integers(0, 2**16),
)
def test_strata_give_the_error_of_a_stratified_mean(sizes: list[int], small: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.repeat([f"s{i}" for i in range(len(sizes + small))], sizes + small)
    labels = random.permutation(labels)
    values = random.normal(0, 1, (len(labels), 3)) + np.asarray([int(name[1:]) for name in labels])[:, None]
    strata = strata_of(labels)
    rest = np.where(np.isin(labels, [f"s{i}" for i in range(len(sizes))]), labels, "rest")
    if sum(small) == 1:  # a single cluster has no variance: the smallest category joins it
        rest = np.where(rest == f"s{int(np.argmin(sizes))}", "rest", rest)
    assert len(set(zip(strata.tolist(), rest.tolist(), strict=True))) == len(set(rest)) == len(set(strata))
    found = within_strata(values, strata)
    np.testing.assert_allclose(found.mean(axis=0), values.mean(axis=0), atol=1e-9)
    np.testing.assert_array_equal(within_strata(-values, strata), -found)
    own = [values[rest == name] for name in np.unique(rest)]
    n = len(values)
    textbook = sum((len(part) / n) ** 2 * part.var(axis=0, ddof=1) / len(part) for part in own)
    np.testing.assert_allclose(found.var(axis=0, ddof=1) / n, textbook)
    result = confirm(values, np.ones(3), np.full(3, 0.5), np.ones(3, bool), 0, strata)
    np.testing.assert_allclose(result.statistic, (values.mean(axis=0) - 0.5) / np.sqrt(textbook))
    if len(own) == 1:
        np.testing.assert_array_equal(found, values)


def test_categories_of_few_clusters_are_one_stratum() -> None:
    assert len(set(strata_of(np.asarray([f"s{i // 2}" for i in range(27)])))) == 1


def test_a_change_in_one_of_two_categories_is_confirmed() -> None:
    """Half of the prompts move by 1 and the others do not: that is not noise in the mean."""
    random = np.random.default_rng(0)
    labels = np.repeat(["asked", "not"], 12)
    scores = (labels == "asked")[:, None] + random.normal(0, 0.1, (24, 1))
    one, floor, strata = np.ones(1), np.full(1, 0.35), strata_of(labels)
    assert confirm(scores, one, floor, np.ones(1, bool), 0).p_value[0] > 0.05
    assert confirm(scores, one, floor, np.ones(1, bool), 0, strata).p_value[0] < 0.001
    assert confirm(scores, one, np.full(1, 0.6), np.ones(1, bool), 0, strata).p_value[0] > 0.9


@pytest.mark.parametrize(
    ("sizes", "spreads"),
    [
        ((12, 12), (1, 1)),
        ((8, 8, 8, 8), (1, 1, 1, 1)),
        ((10, 14, 3), (1, 1, 1)),
        ((12,) * 4, (1, 0.02, 0.02, 0.02)),
    ],
)
def test_confirm_holds_its_family_level_in_strata(sizes: tuple[int, ...], spreads: tuple[float, ...]) -> None:
    """200 null families of 12 whose categories differ, also in spread: rejections ~ Binomial(200, 0.05); more than 21
    has probability < 0.001, and is likely (0.98) at a level of 0.15."""
    random = np.random.default_rng(11)
    strata, spread = np.repeat(np.arange(len(sizes)), sizes), np.repeat(spreads, sizes)[:, None]
    rejected = 0
    for seed in range(200):
        apart = random.normal(0, 1, (len(sizes), 12))[strata]
        scores = random.normal(0, 0.5, (sum(sizes), 12)) * spread + apart - apart.mean(axis=0)
        found = confirm(scores, np.ones(12), np.zeros(12), np.ones(12, bool), seed, strata)
        rejected += bool((found.p_adjusted <= 0.05).any())
    assert rejected <= 21


def test_category_contrasts_find_the_category_and_match_welch() -> None:
    random = np.random.default_rng(0)
    categories = np.repeat(["a", "b", "c"], 12)
    scores = random.normal(0, 1, 36)
    scores[:12] += 3
    names, contrast, statistic, p = category_contrasts(scores, categories, 0)
    assert names == ["a", "b", "c"]
    assert contrast[0] == pytest.approx(scores[:12].mean() - scores[12:].mean())
    assert statistic[0] == pytest.approx(
        stats.ttest_ind(scores[:12], scores[12:], equal_var=False).statistic, rel=1e-6
    )
    assert p[0] < 0.01


def test_a_small_category_gets_no_p() -> None:
    categories = np.asarray(["a"] * 5 + ["b"] * 20 + ["c"] * 20)
    _, contrast, statistic, p = category_contrasts(np.random.default_rng(0).normal(size=45), categories, 0)
    assert np.isnan(p[0])
    assert np.isnan(statistic[0])
    assert np.isfinite(contrast).all()
    assert np.isfinite(p[1:]).all()


def test_exploration_separates_signal_from_noise() -> None:
    random = np.random.default_rng(0)
    theta = random.normal(0, 1, (50, 400)).astype(np.float32)
    theta[:, :40] += 1.0
    theta[:, 399] = 0
    observed, counts = explore(theta, np.arange(50), seed=1)
    assert np.isnan(observed[399])
    q = pooled_fdr(observed, counts)
    assert (q[:40] < 0.05).mean() > 0.95
    assert (q[40:399] < 0.05).mean() < 0.02


def test_exploration_of_pure_noise_finds_nothing_much() -> None:
    theta = np.random.default_rng(3).normal(0, 1, (40, 500)).astype(np.float32)
    observed, counts = explore(theta, np.arange(40), seed=1)
    assert np.nanmin(pooled_fdr(observed, counts)) > 0.05


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg_matches_scipy(p: list[float]) -> None:
    np.testing.assert_allclose(
        benjamini_hochberg(np.asarray(p)), stats.false_discovery_control(p), atol=1e-12
    )


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_mcnemar_is_symmetric(pairs: list[tuple[bool, bool]]) -> None:
    base, target = np.asarray(pairs).T
    assert mcnemar(base, target) == pytest.approx(mcnemar(target, base))
    assert 0 < mcnemar(base, target) <= 1


def test_mcnemar_value() -> None:
    base, target = np.zeros(10, bool), np.ones(10, bool)
    assert mcnemar(base, target) == pytest.approx(2 * 0.5**10)
