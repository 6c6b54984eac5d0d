"""On which prompts a group is tested: all of them, or the large categories where it is strongest on D."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from analyze.features import LayerEffects, categories_of, large_categories, measure_effects, sham_levels
from analyze.features.categories import largest_in_a_category
from analyze.findings import confirm_groups
from analyze.fit import FitOptions
from analyze.fit.paired_sae import fit_paired_sae
from analyze.groups import Group, choose_scopes, make_groups
from analyze.names.sentence import of_categories
from analyze.stats import confirm, strata_of
from fi_store.method import METHOD
from tests.helpers.synthetic import Synthetic, make, swapped


def measured(data: Synthetic, first: str) -> tuple[list[Group], LayerEffects]:
    second = "target" if first == "base" else "base"
    train = torch.from_numpy(data.extraction.rows.discovery)
    options = FitOptions("resid_post", 0, n_latents=64, k=4, steps=250, batch=256, seed=0)
    dictionary = fit_paired_sae(data.activations[first][train], data.activations[second][train], options)
    effects = measure_effects(data.extraction, dictionary, data.activations, first, METHOD.floor_minimum)
    return make_groups([effects], data.extraction), effects


@pytest.fixture(scope="module")
def data() -> Synthetic:
    return make(n_units=120)


@pytest.fixture(scope="module")
def found(data: Synthetic) -> tuple[list[Group], LayerEffects]:
    return measured(data, "base")


def with_floors(effects: LayerEffects, floor: float, scoped: float) -> LayerEffects:
    return replace(effects, floors=np.full(3, floor), scoped=np.full(3, scoped))


def test_a_change_of_one_category_is_tested_there(
    data: Synthetic, found: tuple[list[Group], LayerEffects]
) -> None:
    groups, effects = found
    assert large_categories(data.extraction) == ["other", "planted", "third"]
    high = with_floors(effects, 0.3, 0.5)  # over all prompts, a third of the planted effect is left
    assert choose_scopes(groups[:1], [high], data.extraction) == [("planted",)]
    (tested,) = confirm_groups(
        groups[:1], choose_scopes(groups[:1], [high], data.extraction), [high], data.extraction, 0
    )
    planted = categories_of(data.extraction, ~data.extraction.units.discovery) == "planted"
    assert (tested.scope, tested.n_units, tested.floor) == (("planted",), planted.sum(), pytest.approx(0.5))
    assert tested.confirmed(0.05)
    everywhere = with_floors(effects, 0.3, 50.0)  # no effect within a category is that large
    (over_all,) = confirm_groups(
        groups[:1], choose_scopes(groups[:1], [everywhere], data.extraction), [everywhere], data.extraction, 0
    )
    assert (over_all.scope, over_all.n_units) == ((), len(planted))
    assert abs(over_all.effect) < abs(tested.effect) / 2


def test_a_change_of_all_prompts_is_tested_on_all(
    data: Synthetic, found: tuple[list[Group], LayerEffects]
) -> None:
    groups, effects = found
    means = dict(effects.means)
    position_class = groups[0].position_class
    means["target", position_class] = (
        means["base", position_class] + 1 + np.arange(120)[:, None] % 2 * np.float32(0.1)
    )
    assert choose_scopes(groups[:1], [replace(effects, means=means)], data.extraction) == [()]


def test_the_held_out_half_does_not_influence_the_choice(
    data: Synthetic, found: tuple[list[Group], LayerEffects]
) -> None:
    groups, effects = found
    held, random = ~data.extraction.units.discovery, np.random.default_rng(0)
    means = {key: value.copy() for key, value in effects.means.items()}
    for value in means.values():
        value[held] = random.normal(5, 5, value[held].shape)
    other = replace(effects, means=means)
    assert any(choose_scopes(groups, [effects], data.extraction))
    assert choose_scopes(groups, [other], data.extraction) == choose_scopes(
        groups, [effects], data.extraction
    )


def test_a_category_without_the_change_is_not_joined_to_one_that_is_too_small(
    data: Synthetic, found: tuple[list[Group], LayerEffects], monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, effects = found
    # The mean of two categories exceeds 0.4 although one has no effect.
    alike = with_floors(effects, 0.4, 0.4)
    assert choose_scopes(groups[:1], [alike], data.extraction) == [("planted",)]
    monkeypatch.setattr("analyze.groups.scope.METHOD", replace(METHOD, min_nonzero_clusters=25))
    assert choose_scopes(groups[:1], [alike], data.extraction) == [()]


def test_a_scope_has_enough_held_out_prompts_for_its_test(
    data: Synthetic, found: tuple[list[Group], LayerEffects]
) -> None:
    groups, effects = found
    units = data.extraction.units
    planted = np.flatnonzero(units.categories == "planted")
    discovery = units.discovery.copy()
    discovery[planted] = True
    discovery[planted[: METHOD.min_nonzero_clusters - 1]] = False
    few = replace(data.extraction, units=replace(units, discovery=discovery))
    assert "planted" in large_categories(few)
    high = with_floors(effects, 0.3, 0.5)
    assert choose_scopes(groups[:1], [high], few) == [()]
    discovery[planted[METHOD.min_nonzero_clusters - 1]] = False
    assert choose_scopes(groups[:1], [high], few) == [("planted",)]


def test_the_mirrored_pair_is_tested_on_the_same_prompts(
    data: Synthetic, found: tuple[list[Group], LayerEffects]
) -> None:
    groups, effects = found
    mirrored = swapped(data)
    back, other = measured(mirrored, "target")
    ours = confirm_groups(
        groups, choose_scopes(groups, [effects], data.extraction), [effects], data.extraction, 0
    )
    theirs = confirm_groups(
        back, choose_scopes(back, [other], mirrored.extraction), [other], mirrored.extraction, 0
    )
    assert any(item.scope for item in ours)
    assert [x.scope for x in ours] == [x.scope for x in theirs]
    for name, sign in (("effect", -1), ("floor", 1), ("p_adjusted", 1)):
        left, right = ([getattr(x, name) for x in side] for side in (ours, theirs))
        np.testing.assert_array_equal(left, sign * np.asarray(right))
    assert [x.low for x in ours] == [-x.high for x in theirs]


def test_small_categories_are_never_tested_alone(
    data: Synthetic, found: tuple[list[Group], LayerEffects]
) -> None:
    groups, effects = found
    names = np.asarray([f"c{unit // 10}" for unit in range(120)])
    small = replace(data.extraction, units=replace(data.extraction.units, categories=names))
    assert large_categories(small) == []
    assert choose_scopes(groups, [with_floors(effects, 0.3, 0.3)], small) == [()] * len(groups)


def test_shams_are_measured_in_every_large_category(
    data: Synthetic, found: tuple[list[Group], LayerEffects]
) -> None:
    _, effects = found
    assert (effects.scoped >= effects.floors).all()
    units = data.extraction.units
    in_one = np.where(units.categories == "third", 1.0, 0.0).astype(np.float32)[:, None]
    levels = sham_levels(lambda sham, _: in_one, ["s"], data.extraction, np.ones(1, bool), 0.01)
    # One third of the prompts has the size 1, so all prompts together have a third of it.
    assert (levels.scoped > 2 * levels.floors).all()
    theta = np.zeros((120, 2), dtype=np.float32)
    theta[units.categories == "third", 1] = -2
    assert largest_in_a_category(theta, data.extraction, ["other", "third"]).tolist() == [[0, 2]]


def test_a_scoped_test_equals_the_test_on_its_clusters_alone() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], (12, 9, 15))
    strata, scores = strata_of(labels), random.normal(0.3, 1, (36, 2))
    inside = np.column_stack([np.isin(labels, ["a", "c"]), np.ones(36, bool)])
    one, floors = np.ones(2), np.full(2, 0.1)
    both = confirm(scores, one, floors, np.ones(2, bool), 0, strata, inside)
    kept = inside[:, 0]
    alone = confirm(scores[kept, :1], one[:1], floors[:1], np.ones(1, bool), 1, strata[kept])
    whole = confirm(scores[:, 1:], one[:1], floors[:1], np.ones(1, bool), 0, strata)
    assert both.statistic[0] == pytest.approx(alone.statistic[0])
    assert both.p_value[0] == pytest.approx(alone.p_value[0], abs=0.03)  # other flips
    assert both.statistic[1] == pytest.approx(whole.statistic[0])
    assert both.p_value[1] == whole.p_value[0]
    outside = scores + 5 * ~inside
    again = confirm(outside, one, floors, np.ones(2, bool), 0, strata, inside)
    assert again.p_value[0] == both.p_value[0]


def test_scopes_hold_the_level_of_a_family() -> None:
    """200 null families of 12 with a scope drawn for each: rejections ~ Binomial(200, 0.05); more than 21 has
    probability < 0.001."""
    random = np.random.default_rng(5)
    strata = np.repeat(np.arange(4), 12)
    rejected = 0
    for seed in range(200):
        apart = random.normal(0, 1, (4, 12))
        inside = random.random((4, 12)) < 0.5
        inside[0] |= ~inside.any(axis=0)
        apart -= (apart * inside).sum(axis=0) / inside.sum(axis=0)  # no effect within the scope
        scores = random.normal(0, 0.5, (48, 12)) + apart[strata]
        found = confirm(scores, np.ones(12), np.zeros(12), np.ones(12, bool), seed, strata, inside[strata])
        rejected += bool((found.p_adjusted <= 0.05).any())
    assert rejected <= 21


def test_categories_are_written_as_words() -> None:
    assert of_categories(()) == ""
    assert of_categories(("formal_logic",)) == " of formal logic"
    assert of_categories(("a_b", "c", "d")) == " of a b, c and d"
