"""Cluster bootstrap: weights, BCa against SciPy, coverage with its odds, constants, refusals, symmetry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from analyze.stats import Interval, cluster_counts, log_ratio_interval, mean_interval, ratio_interval
from fi_store.errors import AnalysisError

SMALL = st.floats(-100, 100, allow_nan=False, width=32)


def test_a_draw_has_as_many_clusters_as_the_data_and_repeats_with_the_seed() -> None:
    counts = cluster_counts(3, draws=200, seed=4)
    assert counts.shape == (200, 3)
    assert np.all(counts.sum(axis=1) == 3)
    cluster_counts.cache_clear()
    assert np.array_equal(counts, cluster_counts(3, draws=200, seed=4))
    assert not np.array_equal(counts, cluster_counts(3, draws=200, seed=5))


def test_draws_are_unbiased() -> None:
    """The mean count is 1. With 40,000 draws of variance below 1 it is within 5 SE = 0.025; odds below 1e-5 per
    cluster."""
    assert np.allclose(cluster_counts(8, draws=40_000, seed=0).mean(axis=0), 1, atol=0.025)


def test_mean_interval_agrees_with_scipy_where_every_row_is_a_cluster() -> None:
    values = np.random.default_rng(1).exponential(size=40)
    ours = mean_interval(values, np.arange(40), draws=20_000, seed=3)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    assert float(ours.estimate) == pytest.approx(values.mean())
    # Monte Carlo error of a 2.5% quantile at 20,000 draws is about 1% of the width.
    width = theirs.high - theirs.low
    assert float(ours.low) == pytest.approx(theirs.low, abs=0.05 * width)
    assert float(ours.high) == pytest.approx(theirs.high, abs=0.05 * width)
    assert bool(ours.corrected)


def test_coverage_over_clusters() -> None:
    """2,000 data sets of 40 clusters (1-3 rows, intraclass correlation 0.5), 95% intervals.

    The true coverage of BCa with 40 clusters is about 0.935 and its SE over the data sets is 0.0055, so the
    odds that it falls below 0.91 by chance are under 1e-5. An interval over rows would be wrong: it covers
    about 0.87 and must fail.
    """
    rng = np.random.default_rng(11)
    clusters = np.repeat(np.arange(40), rng.integers(1, 4, size=40))
    shared = rng.normal(size=(40, 2000))[clusters]
    values = shared + rng.normal(size=shared.shape)
    right = mean_interval(values, clusters, draws=1000, seed=0)
    assert 0.91 <= _covered(right) <= 0.98
    wrong = mean_interval(values, np.arange(len(clusters)), draws=1000, seed=0)
    assert _covered(wrong) < 0.91


def _covered(interval: Interval) -> float:
    return float(np.mean((interval.low <= 0) & (interval.high >= 0)))


@given(st.floats(-1e6, 1e6, allow_nan=False), st.integers(2, 30))
def test_a_constant_has_no_width(value: float, n: int) -> None:
    found = mean_interval(np.full((n, 2), value), np.arange(n) // 2 if n > 3 else np.arange(n), draws=50)
    assert np.all(found.estimate == value)
    assert np.all(found.low == value)
    assert np.all(found.high == value)
    assert not found.corrected.any()


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 3)), elements=SMALL),
    st.integers(0, 99),
)
def test_limits_are_ordered_in_range_and_flip_with_the_sign(values: np.ndarray, seed: int) -> None:
    clusters = np.arange(len(values))
    found = mean_interval(values, clusters, draws=99, seed=seed)
    turned = mean_interval(-values, clusters, draws=99, seed=seed)
    slack = 1e-9 * (1 + np.abs(values).max())
    assert np.all(found.low <= found.high)
    assert np.all(found.low >= values.min(axis=0))
    assert np.all(found.high <= values.max(axis=0))
    assert np.allclose(found.low, -turned.high, atol=slack)
    assert np.allclose(found.high, -turned.low, atol=slack)


def test_a_column_does_not_depend_on_its_neighbors() -> None:
    values = np.random.default_rng(0).normal(size=(20, 1500))  # more than one block
    clusters = np.arange(20) // 2
    together = mean_interval(values, clusters, draws=64)
    alone = mean_interval(values[:, 1400], clusters, draws=64)
    assert together.low[1400] == pytest.approx(float(alone.low))
    assert alone.low.shape == ()


def test_ratio_interval_is_a_ratio_of_sums() -> None:
    rng = np.random.default_rng(2)
    bottom = rng.uniform(1, 9, size=60)
    found = ratio_interval(0.4 * bottom + rng.normal(0, 0.1, 60), bottom, np.arange(60) // 2)
    assert found.low < found.estimate < found.high
    assert found.low < 0.4 < found.high
    exact = ratio_interval(0.25 * bottom, bottom, np.arange(60))
    assert np.allclose([exact.low, exact.high], 0.25)


def test_a_denominator_around_zero_has_no_finite_interval() -> None:
    bottom = np.tile([1.0, -0.9], 10)
    found = ratio_interval(np.ones(20), bottom, np.arange(20))
    assert float(found.low) == -np.inf
    assert float(found.high) == np.inf


def test_one_cluster_that_carries_everything_falls_back_to_percentiles() -> None:
    """Without that cluster the ratio is 1 / 0, so there is no acceleration. 8 of 27 draws do not have it."""
    found = ratio_interval([1.0, 1.0, 1.0], [0.0, 0.0, 5.0], np.arange(3), draws=200)
    assert not bool(found.corrected)
    assert float(found.high) == np.inf


@given(
    hnp.arrays(np.float64, (10, 2), elements=st.floats(0, 50, allow_nan=False, width=32)),
    st.floats(1e-3, 1),
    st.integers(0, 99),
)
def test_log_ratio_swaps_with_the_models(pair: np.ndarray, epsilon: float, seed: int) -> None:
    clusters = np.arange(10) // 2
    there = log_ratio_interval(pair[:, 0], pair[:, 1], epsilon, clusters, draws=99, seed=seed)
    back = log_ratio_interval(pair[:, 1], pair[:, 0], epsilon, clusters, draws=99, seed=seed)
    expected = np.log2((pair[:, 0].mean() + epsilon) / (pair[:, 1].mean() + epsilon))
    assert float(there.estimate) == pytest.approx(expected, abs=1e-9)
    assert float(there.estimate) == pytest.approx(-float(back.estimate), abs=1e-9)
    assert float(there.low) == pytest.approx(-float(back.high), abs=1e-7)
    assert float(there.high) == pytest.approx(-float(back.low), abs=1e-7)


@given(
    hnp.arrays(np.float64, (12, 3), elements=st.floats(-1, 1, allow_nan=False)),
    st.floats(0.5, 0.99),
    st.integers(0, 99),
)
def test_the_interval_of_negated_numbers_is_mirrored_to_the_last_bit(
    values: np.ndarray, level: float, seed: int
) -> None:
    there, back = (
        mean_interval(sign * values, np.arange(12) // 2, level, draws=99, seed=seed) for sign in (1, -1)
    )
    np.testing.assert_array_equal(there.estimate, -back.estimate)
    np.testing.assert_array_equal(there.low, -back.high)
    np.testing.assert_array_equal(there.high, -back.low)
    np.testing.assert_array_equal(there.corrected, back.corrected)


def test_log_ratio_takes_an_epsilon_per_column_and_survives_silence() -> None:
    target, base = np.zeros((12, 2)), np.zeros((12, 2))
    target[:, 1] = 3.0
    found = log_ratio_interval(target, base, [0.1, 1.0], np.arange(12))
    assert np.array_equal(found.estimate, [0.0, 2.0])
    assert np.array_equal(found.low, found.high)


@pytest.mark.parametrize(
    ("values", "clusters", "part"),
    [
        ([1.0, np.nan], [0, 1], "NaN"),
        ([1.0, np.inf], [0, 1], "NaN or infinite"),
        ([1.0, 2.0], [3, 3], "two clusters"),
        ([1.0, 2.0], [0, 1, 2], "2 rows"),
        ([], [], "n > 0"),
        (np.zeros((2, 2, 2)), [0, 1], "shape"),
        ([1.0, 2.0], [[0, 1]], "one label per row"),
    ],
)
def test_refusals(values: object, clusters: object, part: str) -> None:
    with pytest.raises(AnalysisError, match=part):
        mean_interval(values, clusters)  # type: ignore[arg-type]


def test_refusals_of_the_options_and_the_ratios() -> None:
    two = np.arange(2)
    with pytest.raises(AnalysisError, match="level"):
        mean_interval([1.0, 2.0], two, level=1.0)
    with pytest.raises(AnalysisError, match="draw"):
        mean_interval([1.0, 2.0], two, draws=0)
    with pytest.raises(AnalysisError, match="sums to zero"):
        ratio_interval([1.0, 2.0], [1.0, -1.0], two)
    with pytest.raises(AnalysisError, match="shapes"):
        ratio_interval([1.0, 2.0], [[1.0], [1.0]], two)
    with pytest.raises(AnalysisError, match="not negative"):
        log_ratio_interval([1.0, -2.0], [1.0, 1.0], 0.1, two)
    with pytest.raises(AnalysisError, match="above zero"):
        log_ratio_interval([1.0, 2.0], [1.0, 1.0], 0.0, two)
    with pytest.raises(AnalysisError, match="shapes"):
        log_ratio_interval([1.0, 2.0], [1.0], 0.1, two)
