"""Random directions of the size of a change: what they are, how they are scored, and that their p value is uniform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from analyze.causal.arms import Patch, features_patch
from analyze.causal.controls import Controls, draw_controls
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side
from tests.helpers.causal import exact_effects, groups_of
from tests.helpers.synthetic import Synthetic, make, swapped


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make(folder=tmp_path_factory.mktemp("gradients"))


def drawn(data: Synthetic, first: Side = "base") -> Controls:
    effects = exact_effects(data, first)
    group = groups_of(data, effects)[0]
    every = np.ones(data.extraction.units.n, dtype=bool)
    patch = features_patch("change", [group], data.extraction, every, "d", group.id)
    return draw_controls(patch, data.activations, data.extraction, seed=0)


@pytest.fixture(scope="module")
def controls(data: Synthetic) -> Controls:
    return drawn(data)


def test_draws_have_length_one_and_nothing_of_the_features(controls: Controls) -> None:
    assert controls.directions.shape == (METHOD.control_draws, 32)
    np.testing.assert_allclose(np.linalg.norm(controls.directions, axis=1), 1)
    assert controls.patch.directions is not None
    np.testing.assert_allclose(controls.directions @ controls.patch.directions.T, 0, atol=1e-6)


def test_draws_come_from_the_difference_of_the_layer(controls: Controls, data: Synthetic) -> None:
    """Stretched along one direction, the differences are drawn along it."""
    wide = data.basis[7]
    target = data.activations["target"]
    far = np.random.default_rng(0).normal(0, 50, len(target))[:, None] * wide.numpy()
    stretched = {"base": data.activations["base"], "target": target + torch.from_numpy(far).float()}
    found = draw_controls(controls.patch, stretched, data.extraction, seed=0)
    assert np.median(np.abs(found.directions @ wide.numpy())) > 0.9
    assert np.median(np.abs(controls.directions @ wide.numpy())) < 0.4


@pytest.mark.parametrize("side", SIDES)
def test_every_draw_closes_the_gap_on_d(controls: Controls, side: Side) -> None:
    own, draws = controls.score(side, discovery=True)
    assert (draws >= 0).all()
    assert own > draws.max()


@pytest.mark.parametrize("side", SIDES)
def test_a_score_is_the_attribution_of_the_patch_itself(controls: Controls, side: Side) -> None:
    strong = controls.strong(side, "run")
    np.testing.assert_allclose(
        np.linalg.norm(strong.vectors, axis=1),
        np.linalg.norm(controls.patch.vectors, axis=1),
        rtol=1e-4,
    )
    assert strong.kind == "control"
    assert strong.notes["like"].endswith(f"{controls.patch.id}.safetensors")
    slopes = controls.slopes[side]
    for half in (True, False):
        rows = controls.discovery == half
        expected = float((slopes[strong.rows[rows]] * strong.vectors[rows]).sum())
        _, draws = controls.score(side, discovery=half)
        assert np.abs(draws - expected).min() < 1e-4
        if half:
            assert (draws <= expected + 1e-4).mean() == pytest.approx(METHOD.control_level, abs=0.01)


def test_the_planted_change_beats_all_draws(controls: Controls) -> None:
    assert [controls.p_value(side) for side in SIDES] == [1 / 1000, 1 / 1000]


def test_swapping_the_pair_leaves_the_scores(data: Synthetic, controls: Controls) -> None:
    other = drawn(swapped(data), first="target")
    np.testing.assert_array_equal(other.directions, -controls.directions)
    pairs: tuple[tuple[Side, Side], ...] = (("base", "target"), ("target", "base"))
    for one, two in pairs:
        mine, theirs = controls.score(one, discovery=False), other.score(two, discovery=False)
        assert mine[0] == pytest.approx(theirs[0], rel=1e-6)
        np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-9)


def test_the_p_value_of_a_draw_is_uniform(controls: Controls) -> None:
    """A change that is itself such a draw, with the sign that closes the gap on D."""
    random, d, n_rows = np.random.default_rng(0), 24, 40
    discovery = np.arange(n_rows) % 2 == 0
    p_values = []
    for _ in range(300):
        slopes = random.normal(0, 1, (n_rows, d)) + random.normal(0, 0.3, d)
        directions = random.normal(0, 1, (100, d)) * np.linspace(0.2, 2, d)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = random.exponential(1, n_rows)
        weighted = lengths[discovery] @ slopes[discovery]
        own = directions[0] * (1 if directions[0] @ weighted >= 0 else -1)
        patch = Patch(
            kind="change",
            effects=controls.patch.effects,
            classes=(2,),
            rows=np.arange(n_rows),
            coefficients=lengths[:, None],
            directions=own[None],
        )
        p_values.append(Controls(patch, directions[1:], {"target": slopes}, discovery).p_value("target"))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.asarray(p_values) <= 0.05) < 0.1
