"""Activity, theta and attribution against direct computations, with gradients and without; and their mirror image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from analyze.extraction import CONTROL, RESPONSE
from analyze.features import GapSlopes, LayerEffects, measure_effects
from analyze.fit import FitOptions
from analyze.fit.paired_sae import fit_paired_sae
from fi_store.errors import AnalysisError
from fi_store.vocabulary import Side
from tests.helpers.synthetic import LAYER, NATS, SITE, Synthetic, make, swapped


def measured(data: Synthetic, first: Side = "base") -> LayerEffects:
    second: Side = "target" if first == "base" else "base"
    train = torch.from_numpy(data.extraction.rows.discovery)
    options = FitOptions(SITE, LAYER, n_latents=64, k=4, steps=250, batch=256, seed=0)
    dictionary = fit_paired_sae(data.activations[first][train], data.activations[second][train], options)
    return measure_effects(data.extraction, dictionary, data.activations, first)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make(folder=tmp_path_factory.mktemp("gradients"))


@pytest.fixture(scope="module")
def effects(data: Synthetic) -> LayerEffects:
    return measured(data)


def dense(effects: LayerEffects) -> torch.Tensor:
    """(N, m) activity of the target minus that of the base."""
    return torch.from_numpy((effects.codes["target"][:, :] - effects.codes["base"][:, :]).toarray())


def test_attribution_is_the_product_of_both_gradients_with_a_features_part(
    data: Synthetic, effects: LayerEffects
) -> None:
    target, base = (data.extraction.gradients(side, SITE, LAYER)[:].double() for side in ("target", "base"))
    latent = int(np.abs(effects.theta(RESPONSE)).mean(axis=0).argmax())
    part = (
        dense(effects)[:, latent, None].double()
        * effects.dictionary.config.scale
        * effects.dictionary.w_dec[latent]
    )
    expected = (target * part).sum(dim=1) / 2 + (-base * part).sum(dim=1) / 2
    assert effects.attribution is not None
    found = effects.attribution.at_rows[:, np.asarray([latent])].toarray()[:, 0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-8)
    assert np.abs(found).max() > 0.01


def test_attribution_sums_over_features_to_that_of_the_dictionarys_difference(
    data: Synthetic, effects: LayerEffects
) -> None:
    rows = data.activations["base"], data.activations["target"]
    encoded = effects.dictionary.encode_pair(rows, torch.from_numpy(data.extraction.rows.position_class))
    assert encoded.difference is not None
    expected = (GapSlopes(data.extraction, SITE, LAYER)[:] * encoded.difference).sum(dim=1)
    assert effects.attribution is not None
    np.testing.assert_allclose(
        effects.attribution.at_rows[:, :].sum(axis=1), expected.numpy(), rtol=1e-3, atol=1e-6
    )


def test_the_planted_features_carry_the_gap_that_was_planted(data: Synthetic, effects: LayerEffects) -> None:
    assert effects.attribution is not None
    nats = effects.attribution.of_units[RESPONSE][:].sum(axis=1)
    rows = data.extraction.rows
    planted = np.bincount(rows.unit[data.planted], minlength=60) * NATS / 18
    assert planted.max() > 0.5
    np.testing.assert_allclose(nats, planted, atol=0.08)


def test_control_texts_have_no_attribution(data: Synthetic, effects: LayerEffects) -> None:
    assert effects.attribution is not None
    assert not effects.attribution.at_rows[:, :].toarray()[data.extraction.rows.author == CONTROL].any()


def test_without_gradients_there_is_no_attribution(data: Synthetic, effects: LayerEffects) -> None:
    bare = replace(data, extraction=replace(data.extraction, gradient_shards={}))
    again = measure_effects(bare.extraction, effects.dictionary, data.activations, "base")
    assert again.attribution is None
    with pytest.raises(AnalysisError, match="no gradients"):
        GapSlopes(bare.extraction, SITE, LAYER)


def test_theta_is_the_scaled_difference_of_unit_means(data: Synthetic, effects: LayerEffects) -> None:
    codes, rows = effects.codes, data.extraction.rows
    latent = int(np.argmax(np.abs(effects.theta(RESPONSE)).mean(axis=0)))
    both = np.concatenate([codes[r][:, :].toarray()[rows.discovery, latent] for r in ("base", "target")])
    scale = np.sqrt(np.square(both[both > 0]).mean())
    unit = 7
    means = []
    for reader in ("target", "base"):
        f = codes[reader][:, :].toarray()[:, latent]
        texts = [
            f[(rows.unit == unit) & (rows.author == a) & (rows.position_class == RESPONSE)].mean()
            for a in (0, 1)
        ]
        means.append(np.mean(texts))
    assert effects.theta(RESPONSE)[unit, latent] == pytest.approx((means[0] - means[1]) / scale, rel=1e-4)


def test_swapping_the_pair_flips_theta_and_leaves_attribution(data: Synthetic, effects: LayerEffects) -> None:
    other = measured(swapped(data), first="target")
    assert torch.equal(other.dictionary.w_dec, effects.dictionary.w_dec)
    np.testing.assert_array_equal(other.theta(RESPONSE), -effects.theta(RESPONSE))
    np.testing.assert_array_equal(other.scale, effects.scale)
    assert other.attribution is not None
    assert effects.attribution is not None
    mine, theirs = effects.attribution.at_rows[:, :], other.attribution.at_rows[:, :]
    np.testing.assert_array_equal(theirs.toarray(), mine.toarray())
