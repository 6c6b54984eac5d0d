"""Patches hold what they say at the rows they say, and come back from their files as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from analyze.causal.arms import Patch, arm_row, control_patch, features_patch, layer_patch, rows_of
from analyze.extraction import PROMPT, RESPONSE, START
from analyze.features import LayerEffects
from fi_store.store import Store, arm_path
from fi_store.store.tables import Arm
from tests.helpers.causal import SCALE, exact_effects, groups_of, stored_vectors
from tests.helpers.synthetic import Synthetic, make, swapped


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make(folder=tmp_path_factory.mktemp("gradients"))


@pytest.fixture(scope="module")
def effects(data: Synthetic) -> LayerEffects:
    return exact_effects(data)


@pytest.fixture(scope="module")
def patch(data: Synthetic, effects: LayerEffects) -> Patch:
    group = groups_of(data, effects)[0]
    return features_patch("group", [group], data.extraction, every(data), "features/d", group.id)


def every(data: Synthetic) -> np.ndarray:
    return np.ones(data.extraction.units.n, dtype=bool)


def test_a_whole_patch_is_the_difference(data: Synthetic, effects: LayerEffects) -> None:
    some = np.arange(60) % 4 == 0
    whole = layer_patch("whole", effects, (START, RESPONSE), data.activations, data.extraction, some)
    rows = data.extraction.rows
    assert (
        whole.rows.tolist()
        == np.flatnonzero(
            rows.own & np.isin(rows.position_class, (START, RESPONSE)) & (rows.unit % 4 == 0)
        ).tolist()
    )
    expected = (data.activations["target"] - data.activations["base"])[torch.from_numpy(whole.rows)]
    np.testing.assert_array_equal(whole.vectors, expected.numpy())
    assert whole.directions is None


def test_a_dictionary_patch_is_what_it_reconstructs_of_the_difference(
    data: Synthetic, effects: LayerEffects, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, extraction = data.activations, data.extraction
    found = layer_patch("dictionary", effects, (RESPONSE,), both, extraction, every(data))
    rows = torch.from_numpy(found.rows)
    rebuilt = {
        side: effects.dictionary.decode(torch.from_numpy(effects.codes[side][:, :].toarray()[found.rows]))
        for side in ("base", "target")
    }
    np.testing.assert_allclose(found.vectors, (rebuilt["target"] - rebuilt["base"]).numpy(), atol=1e-5)
    assert len(rows) == len(found.vectors)
    monkeypatch.setattr("analyze.causal.arms.BLOCK", 7)
    in_blocks = layer_patch("dictionary", effects, (RESPONSE,), both, extraction, every(data))
    np.testing.assert_allclose(in_blocks.vectors, found.vectors, atol=1e-6)
    nothing = layer_patch("dictionary", effects, (RESPONSE,), both, extraction, ~every(data))
    assert nothing.vectors.shape == (0, 32)


def test_the_mean_shift_is_learned_on_d_by_class(data: Synthetic, effects: LayerEffects) -> None:
    on_c = ~data.extraction.units.discovery
    found = layer_patch("mean_shift", effects, (START, RESPONSE), data.activations, data.extraction, on_c)
    difference = (data.activations["target"] - data.activations["base"]).numpy()
    for position_class in (START, RESPONSE):
        learned = rows_of(data.extraction, (position_class,), data.extraction.units.discovery)
        here = data.extraction.rows.position_class[found.rows] == position_class
        expected = np.broadcast_to(difference[learned].mean(axis=0), (int(here.sum()), 32))
        np.testing.assert_allclose(found.vectors[here], expected, atol=1e-5)


def test_a_patch_of_features_is_their_part_of_the_difference(
    data: Synthetic, effects: LayerEffects, patch: Patch
) -> None:
    assert patch.classes == (RESPONSE,)
    planted = np.flatnonzero(data.planted)
    assert set(planted) <= set(patch.rows.tolist())
    at = np.searchsorted(patch.rows, planted)
    along = patch.vectors[at] @ data.direction.numpy()
    np.testing.assert_allclose(along, 6.0, atol=0.3)
    moved = effects.moved(patch.latents if patch.latents is not None else np.zeros(0, dtype=np.int64))
    expected = (
        moved.toarray()[patch.rows]
        @ effects.dictionary.w_dec[torch.from_numpy(patch.latents)].numpy()
        * SCALE
    )
    np.testing.assert_allclose(patch.vectors, expected, atol=1e-4)


def test_groups_that_share_a_latent_are_patched_each_at_its_own_positions(
    data: Synthetic, effects: LayerEffects
) -> None:
    group = groups_of(data, effects)[0]
    one = replace(group, position_class=RESPONSE, members=(replace(group.members[0], latent=3),))
    two = replace(
        group,
        position_class=PROMPT,
        members=(replace(group.members[0], latent=3), replace(group.members[0], latent=5)),
    )
    both = features_patch("change", [one, two], data.extraction, every(data), "d", one.id)
    assert both.classes == (PROMPT, RESPONSE)
    assert both.latents is not None
    assert both.latents.tolist() == [3, -1], "the second is of prompts only, and does not act in new answers"
    position_class = data.extraction.rows.position_class[both.rows]
    moved = effects.moved(np.asarray([3, 5])).toarray()[both.rows]
    np.testing.assert_allclose(both.coefficients[:][:, 0], moved[:, 0], atol=1e-6)
    assert not both.coefficients[:][position_class == RESPONSE, 1].any()
    np.testing.assert_allclose(
        both.coefficients[:][position_class == PROMPT, 1], moved[position_class == PROMPT, 1], atol=1e-6
    )
    assert np.abs(both.coefficients[:][position_class == PROMPT, 1]).max() > 0.01
    assert np.abs(moved[position_class == RESPONSE, 1]).max() > 0.01
    # Each keeps the rows at which it moves: together they are those of both.
    alone = [features_patch("change", [g], data.extraction, every(data), "d", "") for g in (one, two)]
    np.testing.assert_array_equal(both.rows, np.union1d(alone[0].rows, alone[1].rows))


def test_swapping_the_pair_negates_a_patch(data: Synthetic, patch: Patch) -> None:
    mirror = swapped(data)
    group = groups_of(mirror, exact_effects(mirror, first="target"))[0]
    other = features_patch("group", [group], mirror.extraction, every(data), "features/d", group.id)
    np.testing.assert_array_equal(other.rows, patch.rows)
    np.testing.assert_array_equal(other.vectors, -patch.vectors)


def test_a_patch_comes_back_from_its_file(patch: Patch, tmp_path: Path) -> None:
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        control = control_patch(patch, np.eye(32)[3], -1, "run")
        for each in (patch, control):
            each.write(store, "run")
            rows, vectors = stored_vectors(store, Arm(**arm_row(each, "run")))
            np.testing.assert_array_equal(rows, each.rows)
            np.testing.assert_array_equal(vectors, each.vectors)
        assert arm_row(control, "run")["n_directions"] == 1
        path = store.folder / arm_path("run", patch.id)
        written = path.stat().st_mtime_ns
        patch.write(store, "run")
        assert path.stat().st_mtime_ns == written


def test_a_file_is_whole_or_absent(patch: Patch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_tensors: object, path: Path, **_options: object) -> None:
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        with monkeypatch.context() as patched:
            patched.setattr("analyze.causal.arms.save_file", broken)
            with pytest.raises(OSError, match="full"):
                patch.write(store, "run")
        assert not (store.folder / arm_path("run", patch.id)).exists()
        patch.write(store, "run")
        np.testing.assert_array_equal(stored_vectors(store, Arm(**arm_row(patch, "run")))[1], patch.vectors)


def test_an_id_is_that_of_the_content(patch: Patch) -> None:
    assert replace(patch).id == patch.id
    other = patch.coefficients[:].copy()
    other[0, 0] += 1
    ids = {
        patch.id,
        replace(patch, coefficients=other).id,
        replace(patch, rows=patch.rows + 1).id,
        replace(patch, kind="change").id,
        replace(patch, group_id="another").id,
    }
    assert len(ids) == 5
