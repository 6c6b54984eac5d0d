"""Floors for candidates and for effects: by hand, by simulation, and with few or weak shams."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.features.floors import inverse_softplus, sham_floors, softplus
from fi_store.method import METHOD

Z90 = 1.2815515655446004


def shams(*largest: float, features: int = 3) -> list[npt.NDArray[np.float32]]:
    """One array (4 units, features) per sham: the first feature has size `largest`, the others a tenth of it."""
    rows = []
    for value in largest:
        row = np.full((4, features), value / 10, dtype=np.float32)
        row[:, 0] = value
        rows.append(row)
    return rows


ALIVE = np.ones(3, dtype=bool)


def raised(size: float, step: float) -> float:
    """`size` moved up by `step` on the scale log(exp(b m) - 1), by hand."""
    bend = METHOD.sham_sharpness
    return math.log(1 + (math.exp(bend * size) - 1) * math.exp(step)) / bend


def inverse_softplus_by_hand(size: float) -> float:
    return math.log(math.exp(METHOD.sham_sharpness * size) - 1)


def test_one_sham_takes_the_usual_spread() -> None:
    found = sham_floors([shams(0.1), shams(0.4), shams(0.2)], ALIVE, 0.01)
    assert found.candidate_floors == pytest.approx([0.1, 0.4, 0.2])
    step = Z90 * METHOD.sham_spread * math.sqrt(2)
    assert found.floors == pytest.approx([raised(size, step) for size in (0.1, 0.4, 0.2)])


def test_several_shams_bring_their_own_spread() -> None:
    found = sham_floors([shams(0.1, 0.4), shams(0.1, 0.4), shams(0.1, 0.4)], ALIVE, 0.01)
    half = (inverse_softplus_by_hand(0.4) - inverse_softplus_by_hand(0.1)) / 2
    squares = 3 * 2 * half**2
    weight = METHOD.sham_spread_weight
    spread = math.sqrt((weight * METHOD.sham_spread**2 + squares) / (weight + 3))
    assert found.candidate_floors == pytest.approx([0.25] * 3)
    assert found.floors == pytest.approx([raised(0.1, half + Z90 * spread * math.sqrt(1.5))] * 3)


def test_the_sign_of_a_shams_effect_does_not_change_the_floor() -> None:
    mirrored = [[-theta for theta in one] for one in (shams(0.1, 0.3), shams(0.2, 0.2), shams(0.4, 0.1))]
    plain = sham_floors([[-theta for theta in one] for one in mirrored], ALIVE, 0.01)
    assert sham_floors(mirrored, ALIVE, 0.01).floors.tolist() == plain.floors.tolist()


@pytest.mark.parametrize("nothing", [[[], [], []], [shams(0.9)] * 3])
def test_without_shams_or_alive_features_the_floor_is_the_minimum(
    nothing: list[list[npt.NDArray[np.float32]]],
) -> None:
    found = sham_floors(nothing, ALIVE & (nothing[0] == []), 0.05)
    assert found.candidate_floors.tolist() == found.floors.tolist() == [0.05] * 3


def test_dead_features_do_not_count() -> None:
    found = sham_floors([shams(0.5)] * 3, np.asarray([False, True, True]), 0.01)
    assert found.candidate_floors == pytest.approx([0.05] * 3)


def test_shams_that_do_nothing_leave_finite_floors() -> None:
    found = sham_floors([shams(0.0, 0.0), shams(0.0, 0.3), shams(0.2, 0.0)], ALIVE, 0.0)
    assert found.floors[0] == pytest.approx(0, abs=1e-6)
    assert np.isfinite(found.floors).all()
    assert (found.floors >= found.candidate_floors).all()
    assert (found.floors[1:] > METHOD.floor_minimum).all()


def test_a_class_where_shams_do_nothing_keeps_the_minimum_and_informs_no_spread() -> None:
    alone = sham_floors([shams(0.1, 0.4), shams(0.001, 0.002), shams(0.0, 0.0)], ALIVE, 0.02)
    half = (inverse_softplus_by_hand(0.4) - inverse_softplus_by_hand(0.1)) / 2
    squares = 2 * half**2
    weight = METHOD.sham_spread_weight
    spread = math.sqrt((weight * METHOD.sham_spread**2 + squares) / (weight + 1))
    assert alone.floors == pytest.approx([raised(0.1, half + Z90 * spread * math.sqrt(1.5)), 0.02, 0.02])


def test_the_floor_has_no_step_at_the_minimum() -> None:
    under, over = (sham_floors([shams(size)] * 3, ALIVE, 0.01).floors for size in (0.00999, 0.01001))
    assert under == pytest.approx(over, rel=0.01)
    assert (under > 0.015).all()


def test_with_many_features_one_in_a_thousand_is_a_candidate_but_the_floor_is_above_all() -> None:
    thetas = [shams(0.3, features=4000)] * 3
    found = sham_floors(thetas, np.ones(4000, dtype=bool), 0.01)
    assert found.candidate_floors == pytest.approx([0.03] * 3)
    assert (found.floors > 0.3).all()


@given(st.lists(st.floats(0.02, 2), min_size=1, max_size=6), st.floats(0.001, 0.5))
def test_the_floor_is_above_the_middle_of_the_shams(largest: list[float], minimum: float) -> None:
    many = [shams(*largest, features=4000)] * 3  # one in a thousand may be this large
    found = sham_floors(many, np.ones(4000, dtype=bool), minimum)
    assert (found.floors >= minimum).all()
    assert (found.floors > softplus(inverse_softplus(np.asarray(largest)).mean()) - 1e-6).all()


@given(st.floats(1e-300, 50))
def test_softplus_undoes_its_inverse(size: float) -> None:
    assert softplus(inverse_softplus(np.asarray([size]))) == pytest.approx([size], rel=1e-9)


def test_small_sizes_are_compared_by_factors_and_large_ones_by_differences() -> None:
    sizes = np.asarray([1e-4, 2e-4, 3.0, 4.0])
    found = inverse_softplus(sizes)
    assert found[1] - found[0] == pytest.approx(math.log(2), abs=1e-3)
    assert found[3] - found[2] == pytest.approx(METHOD.sham_sharpness, abs=1e-3)


@pytest.mark.parametrize("n", [1, 3, 9])
@pytest.mark.parametrize("level", [0.05, 0.6])
@pytest.mark.parametrize("spread", [0.25, 0.43])
def test_one_more_sham_stays_under_the_floor_nine_times_in_ten(n: int, level: float, spread: float) -> None:
    random = np.random.default_rng(7)
    draws = 2000
    noise = random.standard_normal((draws, 3, n + 1))
    largest = softplus(inverse_softplus(np.asarray([level])) + spread * noise)
    exceeded = [
        (one[:, n] > sham_floors([shams(*row[:n]) for row in one], ALIVE, 0.01).floors).mean()
        for one in largest
    ]
    share = float(np.mean(exceeded))
    assert share <= 0.12  # z instead of Student's t costs a hundredth
    assert share >= 0.06 or spread < METHOD.sham_spread  # and the floor is no higher than necessary
