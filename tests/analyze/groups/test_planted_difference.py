"""Groups of a planted difference: what leads, with gradients and without; change classes; and their mirror image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from analyze.extraction import RESPONSE, START
from analyze.features import LayerEffects, measure_effects
from analyze.fit import FitOptions
from analyze.fit.paired_sae import fit_paired_sae
from analyze.groups import GapOn, Group, classify, make_groups, measure_movement, ratio_class
from analyze.groups.join import feature_strength
from analyze.groups.readability import FOLDS, PENALTIES, GroupedRidge, readability
from fi_store.method import METHOD
from fi_store.vocabulary import Side
from tests.helpers.synthetic import LAYER, SITE, Synthetic, make, residuals_of, swapped


def measured(data: Synthetic, first: Side = "base") -> LayerEffects:
    second: Side = "target" if first == "base" else "base"
    train = torch.from_numpy(data.extraction.rows.discovery)
    options = FitOptions(SITE, LAYER, n_latents=64, k=4, steps=250, batch=256, seed=0)
    dictionary = fit_paired_sae(data.activations[first][train], data.activations[second][train], options)
    return measure_effects(data.extraction, dictionary, data.activations, first)


def gap_of(data: Synthetic) -> GapOn:
    """The gap that was planted, on D."""
    units, rows = data.extraction.units, data.extraction.rows
    gap = np.bincount(rows.unit[data.planted], minlength=units.n) / 18
    return GapOn(units.discovery, float(gap[units.discovery].mean()))


def without_gradients(data: Synthetic, effects: LayerEffects) -> tuple[Synthetic, LayerEffects]:
    bare = replace(data, extraction=replace(data.extraction, gradient_shards={}))
    return bare, replace(effects, attribution=None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make(folder=tmp_path_factory.mktemp("gradients"))


@pytest.fixture(scope="module")
def effects(data: Synthetic) -> LayerEffects:
    return measured(data)


@pytest.fixture(scope="module")
def groups(data: Synthetic, effects: LayerEffects) -> list[Group]:
    return make_groups("run", [effects], data.extraction, [gap_of(data)])


def along(group: Group, direction: torch.Tensor) -> float:
    """How much of a direction is in the span of the group's features."""
    span = torch.linalg.qr(group.effects.dictionary.w_dec[torch.from_numpy(group.latents)].T)[0]
    return float((span.T @ direction).norm())


def test_the_planted_direction_leads_and_holds_the_gap(data: Synthetic, groups: list[Group]) -> None:
    first = groups[0]
    assert first.position_class == RESPONSE
    assert first.direction == 1
    assert along(first, data.direction) > 0.9
    assert first.share > 0.8
    assert sum(group.share for group in groups[1:]) < 0.2
    assert first.attributed == pytest.approx(first.share * gap_of(data).gap, rel=1e-6)
    assert sum(member.weight for member in first.members) == pytest.approx(1)
    assert [member.weight for member in first.members] == sorted(
        (member.weight for member in first.members), reverse=True
    )


def test_without_gradients_a_group_counts_by_its_length(data: Synthetic, effects: LayerEffects) -> None:
    bare, by_length = without_gradients(data, effects)
    groups = make_groups("run", [by_length], bare.extraction, [])
    assert along(groups[0], data.direction) > 0.9
    # The share of all lengths, not the length: those below a small share are left out.
    assert 0.3 < groups[0].share <= 1
    assert groups[0].share == max(group.share for group in groups)
    assert min(group.share for group in groups) >= METHOD.candidate_share
    latent = groups[0].members[0].latent
    strength = feature_strength(by_length, RESPONSE, bare.extraction, [])
    moved = by_length.moved(np.asarray([latent])).toarray()[:, 0]
    rows, units = bare.extraction.rows, bare.extraction.units
    weights = rows.unit_weights(units.n) * (rows.position_class == RESPONSE)
    mean = np.bincount(rows.unit, weights=weights * moved)[units.discovery].mean()
    length = abs(mean) * float(by_length.directions[latent].norm())
    assert strength.nats[latent] == pytest.approx(length, rel=1e-4)


def test_a_feature_is_a_candidate_by_the_gap_of_a_behavior_alone(
    data: Synthetic, effects: LayerEffects
) -> None:
    """It carries too little of the whole gap, and much of the gap on the prompts of one behavior."""
    units = data.extraction.units
    assert effects.attribution is not None
    values = effects.attribution.of_units[RESPONSE][:]
    latent = int(values.mean(axis=0).argmax())
    few = units.discovery & (units.categories == "planted")
    whole = GapOn(units.discovery, 1e4)
    own = GapOn(few, float(values[few, latent].mean() / 0.5))
    assert feature_strength(effects, RESPONSE, data.extraction, [whole]).share[latent] == 0
    found = feature_strength(effects, RESPONSE, data.extraction, [whole, own])
    assert found.share[latent] == pytest.approx(0.5)


def test_without_a_gap_there_are_no_groups(data: Synthetic, effects: LayerEffects) -> None:
    assert make_groups("run", [effects], data.extraction, []) == []


def test_its_class(data: Synthetic, groups: list[Group]) -> None:
    change = classify(groups[0], data.extraction, residuals_of(data))
    assert change.name == "added"
    assert change.auc_base is not None
    assert change.auc_base < 0.8 < 0.9 < (change.auc_target or 0)


def test_swapping_the_pair_mirrors_everything(
    data: Synthetic, effects: LayerEffects, groups: list[Group]
) -> None:
    mirror = swapped(data)
    found = make_groups("run", [measured(mirror, first="target")], mirror.extraction, [gap_of(mirror)])
    assert [g.id for g in found] == [g.id for g in groups]
    assert [g.share for g in found] == [g.share for g in groups]
    assert [g.attributed for g in found] == [g.attributed for g in groups]
    assert [[(m.latent, m.weight, -m.sign) for m in g.members] for g in found] == [
        [(m.latent, m.weight, m.sign) for m in g.members] for g in groups
    ]
    assert [g.direction for g in found] == [-g.direction for g in groups]
    np.testing.assert_array_equal(found[0].scores(), -groups[0].scores())
    np.testing.assert_array_equal(found[0].change_at_tokens(), groups[0].change_at_tokens())
    assert classify(found[0], mirror.extraction, residuals_of(mirror)).name == "removed"
    one = measure_movement(groups, data.extraction, 0)
    two = measure_movement(found, mirror.extraction, 0)
    assert [item.p_adjusted for item in two] == [item.p_adjusted for item in one]
    assert [(item.theta, item.low, item.high) for item in two] == [
        (-item.theta, -item.high, -item.low) for item in one
    ]


def test_what_moved_on_c_is_a_t_test_over_clusters(data: Synthetic, groups: list[Group]) -> None:
    paired = replace(data.extraction.units, clusters=np.arange(60) // 6 * 3 + np.arange(60) % 3)
    extraction = replace(data.extraction, units=paired)
    (moved,) = measure_movement(groups[:1], extraction, 0)
    held_out = ~paired.discovery
    scores = groups[0].scores()
    means = [
        scores[held_out & (paired.clusters == cluster)].mean()
        for cluster in np.unique(paired.clusters[held_out])
    ]
    t = np.mean(means) / (np.std(means, ddof=1) / np.sqrt(len(means)))
    assert moved.statistic == pytest.approx(t)
    assert moved.theta == pytest.approx(np.mean(means))
    assert moved.n_units == held_out.sum()
    assert moved.n_nonzero == np.count_nonzero(means)


def test_a_group_that_does_not_vary_has_no_p(data: Synthetic, groups: list[Group]) -> None:
    silent = replace(groups[0].effects, means={key: 0 * m[:] for key, m in groups[0].effects.means.items()})
    (moved,) = measure_movement([replace(groups[0], effects=silent)], data.extraction, 0)
    assert (moved.theta, moved.p_value, moved.p_adjusted, moved.n_nonzero) == (0, None, None, 0)
    assert measure_movement([], data.extraction, 0) == []


def test_the_rows_of_a_group_are_where_it_moves(data: Synthetic, groups: list[Group]) -> None:
    group, rows = groups[0], data.extraction.rows
    units = np.arange(60) < 30
    found = group.rows(data.extraction, units)
    assert (np.diff(found) > 0).all()
    assert set(np.unique(rows.position_class[found])) == {RESPONSE}
    assert rows.own[found].all()
    assert rows.unit[found].max() < 30
    moves = np.abs(group.effects.moved(group.latents).toarray()).max(axis=1) > 0
    assert len(found) == (moves & rows.own & (rows.position_class == RESPONSE) & (rows.unit < 30)).sum()


def test_the_ridge_is_the_ordinary_one_with_whole_clusters_left_out() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 12)).astype(np.float32) + 3
    y = x[:, 0] - 2 * x[:, 5] + random.standard_normal(300)
    clusters = np.repeat(np.arange(30), 10)
    ready = GroupedRidge(torch.from_numpy(x), np.arange(300), 1.0, clusters)
    folds = list(GroupKFold(n_splits=FOLDS).split(x, groups=clusters))

    def expected(target: np.ndarray, penalty: float) -> np.ndarray:
        out = np.empty(len(target))
        for train, test in folds:
            out[test] = Ridge(alpha=penalty).fit(x[train].astype(float), target[train]).predict(x[test])
        return out

    for target in (y, -(y**2)):  # what was prepared serves every target
        each = [expected(target, penalty) for penalty in PENALTIES]
        best = min(each, key=lambda found: np.square(target - found).sum())
        np.testing.assert_allclose(ready.predict(target), best, rtol=1e-6, atol=1e-6)


def test_readability_needs_rows(data: Synthetic, groups: list[Group]) -> None:
    start = replace(groups[0], position_class=START)
    assert readability(start, data.extraction, residuals_of(data)) == (None, None)


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [
        (0.4, 2.0, "strengthened"),
        (-2.0, -0.4, "weakened"),
        (-0.1, 0.1, "shared"),
        (-0.1, 2.0, "undetermined"),
        (0.1, 0.9, "undetermined"),
    ],
)
def test_ratio_classes_are_symmetric(low: float, high: float, name: str) -> None:
    mirror = {"strengthened": "weakened", "weakened": "strengthened"}
    assert ratio_class(low, high) == name
    assert ratio_class(-high, -low) == mirror.get(name, name)
