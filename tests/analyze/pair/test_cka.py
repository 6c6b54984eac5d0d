"""Debiased CKA: the formula written out, invariances, coverage with its odds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analyze.pair.cka import cka, make_gram
from fi_store.errors import AnalysisError


def slow_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Equation 5 of Song et al. 2012, word for word."""
    k, l = x @ x.T, y @ y.T  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    n, one = len(k), np.ones(len(k))
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return float((np.trace(k @ l) + middle - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3)))


def slow_cka(x: np.ndarray, y: np.ndarray) -> float:
    return slow_hsic(x, y) / np.sqrt(slow_hsic(x, x) * slow_hsic(y, y))


@pytest.mark.parametrize(
    "clusters", [np.arange(14), np.repeat([5, 1, 2, 9, 3, 0, 8], 2), [0] * 3 + [1] * 2 + [2] * 9]
)
def test_value_and_interval_equal_the_formula_written_out(clusters: np.ndarray) -> None:
    clusters = np.asarray(clusters)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(14, 5)) + 3
    y = np.concatenate([x[:, :2] + rng.normal(size=(14, 2)), rng.normal(size=(14, 6))], axis=1)
    found = cka(make_gram(x, clusters), make_gram(y, clusters))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    labels = np.unique(clusters)
    left_out = np.array([slow_cka(x[clusters != c], y[clusters != c]) for c in labels])
    count = len(labels)
    error = np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2))
    half_width = stats.t.ppf(0.975, count - 1) * error
    assert found.value == pytest.approx(slow_cka(x, y))
    assert found.low == pytest.approx(max(-1, slow_cka(x, y) - half_width))
    assert found.high == pytest.approx(min(1, slow_cka(x, y) + half_width))


def test_coverage_where_the_truth_is_known() -> None:
    """X ~ N(0, I_4), Y = X + N(0, I_4): CKA = |cov(X, Y)|^2 / (|cov X| |cov Y|) = 1/2. 400 data sets of 60 prompts.

    A coverage of 0.95 has SE 0.011 here; the odds of less than 0.90 by chance are under 1e-4.
    """
    rng = np.random.default_rng(3)
    clusters = np.arange(60)
    inside = 0
    for _ in range(400):
        x = rng.normal(size=(60, 4))
        found = cka(make_gram(x, clusters), make_gram(x + rng.normal(size=(60, 4)), clusters))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.5 <= found.high
    assert 0.90 <= inside / 400 <= 0.99


def test_unrelated_vectors_score_zero_and_a_bootstrap_would_not() -> None:
    """Width above the number of prompts: the plain CKA is near 1, the debiased one averages 0.

    200 data sets; the SD of one value is about 0.03, so the mean is within 0.01 of 0 by more than 4 SE.
    """
    rng = np.random.default_rng(5)
    clusters = np.arange(30)
    values, resampled = [], []
    for _ in range(200):
        x, y = rng.normal(size=(30, 200)), rng.normal(size=(30, 200))
        found = cka(make_gram(x, clusters), make_gram(y, clusters))
        assert found is not None
        values.append(found.value)
        draw = rng.integers(0, 30, 30)
        resampled.append(slow_cka(x[draw], y[draw]))
    assert abs(np.mean(values)) < 0.01
    assert np.mean(resampled) > 0.5


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_does_not_depend_on_rotation_scale_center_or_side(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
    clusters = np.arange(9) // 2
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    one = cka(make_gram(x, clusters), make_gram(y, clusters))
    other = cka(make_gram(y, clusters), make_gram(scale * x @ turn + shift, clusters))
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert -1 <= one.value <= 1
        assert other.value == pytest.approx(one.value, abs=1e-6)
        assert (one.low is None) == (other.low is None)


def test_a_model_with_itself_is_exactly_one() -> None:
    x = np.random.default_rng(1).normal(size=(12, 7)) * 1e3
    assert cka(make_gram(x, np.arange(12)), make_gram(x.copy(), np.arange(12))) == (1.0, 1.0, 1.0)


def test_undefined_without_variation_and_no_interval_without_clusters() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    assert cka(make_gram(np.ones((6, 3)), np.arange(6)), make_gram(x, np.arange(6))) is None
    one_cluster = cka(make_gram(x, [0] * 6), make_gram(x + 0.1 * y, [0] * 6))
    assert one_cluster is not None
    assert (one_cluster.low, one_cluster.high) == (None, None)


def test_refusals() -> None:
    x = np.random.default_rng(2).normal(size=(6, 3))
    with pytest.raises(AnalysisError, match="4 prompts"):
        make_gram(x[:3], np.arange(3))
    with pytest.raises(AnalysisError, match="NaN"):
        make_gram(np.full((6, 3), np.nan), np.arange(6))
    with pytest.raises(AnalysisError, match="adjacent"):
        make_gram(x, [0, 1, 0, 1, 2, 3])
    with pytest.raises(AnalysisError, match="cluster labels"):
        make_gram(x, [0, 1])
    with pytest.raises(AnalysisError, match="same prompts"):
        cka(make_gram(x, np.arange(6)), make_gram(x, [0, 0, 1, 1, 2, 2]))
