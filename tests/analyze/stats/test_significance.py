"""The significance tests: category contrasts, McNemar's test and Holm's correction against references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analyze.stats import category_contrasts, cluster_means, holm, mcnemar


def test_cluster_means_weigh_the_units_of_a_cluster_equally() -> None:
    values = np.asarray([[1.0], [3.0], [10.0]])
    assert cluster_means(values, np.asarray([5, 5, 2])).tolist() == [[10.0], [2.0]]


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


def reference_holm(p: list[float]) -> list[float]:
    """The definition: the largest (m - rank) p among the p values that are not larger."""
    order = sorted(p)
    return [min(1.0, max((len(p) - at) * q for at, q in enumerate(order) if q <= each)) for each in p]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_matches_its_definition(p: list[float]) -> None:
    adjusted = holm(np.asarray(p))
    # Equal p values share the smallest factor of their ranks after the running maximum.
    np.testing.assert_allclose(np.sort(adjusted), np.sort(reference_holm(p)), atol=1e-12)
    assert (adjusted >= np.asarray(p)).all()


def test_holm_keeps_the_order_of_the_tests() -> None:
    np.testing.assert_allclose(holm(np.asarray([0.04, 0.001, 0.03])), [0.06, 0.003, 0.06])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_mcnemar_is_symmetric(pairs: list[tuple[bool, bool]]) -> None:
    base, target = np.asarray(pairs).T
    assert mcnemar(base, target) == pytest.approx(mcnemar(target, base))
    assert 0 < mcnemar(base, target) <= 1


def test_mcnemar_value() -> None:
    base, target = np.zeros(10, bool), np.ones(10, bool)
    assert mcnemar(base, target) == pytest.approx(2 * 0.5**10)
