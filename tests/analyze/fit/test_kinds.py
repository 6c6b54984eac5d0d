"""Every kind of dictionary finds a planted direction, mirrors exactly, survives saving, and refuses bad rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analyze.extraction import RESPONSE
from analyze.features import LayerEffects, measure_effects, with_scaling
from analyze.fit import FitOptions, fit_dictionary
from analyze.groups import GapOn, Group, classify, make_groups, measure_movement
from analyze.groups.classes import activity_ratio
from fi_store.config import DictionaryKind
from fi_store.dictionaries import Crosscoder, DiffSae, MeanDiff, Pca, load_dictionary
from fi_store.errors import AnalysisError
from fi_store.vocabulary import Side
from tests.helpers.synthetic import Synthetic, make, residuals_of, swapped

KINDS: tuple[DictionaryKind, ...] = ("paired_sae", "crosscoder", "diff_sae", "pca", "mean_diff")
OPTIONS = FitOptions("resid_post", 0, n_latents=32, k=4, steps=200, batch=256, seed=0)


def measured(data: Synthetic, kind: DictionaryKind, first: Side = "base") -> LayerEffects:
    second: Side = "target" if first == "base" else "base"
    train = torch.from_numpy(data.extraction.rows.discovery)
    rows = data.activations[first][train], data.activations[second][train]
    classes = torch.from_numpy(data.extraction.rows.position_class)[train]
    # The difference holds one direction; more latents per row would split it.
    options = replace(OPTIONS, k=1) if kind == "diff_sae" else OPTIONS
    dictionary = fit_dictionary(kind, rows, classes, options)
    effects = measure_effects(data.extraction, dictionary, data.activations, first)
    return with_scaling(effects, data.extraction, (data.activations[first], data.activations[second]), 0)


@pytest.fixture(scope="module")
def data() -> Synthetic:
    return make(n_units=200)


@pytest.fixture(scope="module")
def all_effects(data: Synthetic) -> dict[str, LayerEffects]:
    return {kind: measured(data, kind) for kind in KINDS}


def first_group(effects: LayerEffects, data: Synthetic) -> Group:
    gap = GapOn(data.extraction.units.discovery, 1.0)  # without gradients the length of the change counts
    return make_groups("run", [effects], data.extraction, [gap])[0]


def along(effects: LayerEffects, group: Group, direction: torch.Tensor) -> float:
    """How much of a direction is in the span of the group's latents."""
    span = torch.linalg.qr(effects.dictionary.w_dec[[member.latent for member in group.members]].T)[0]
    return float((span.T @ direction).norm())


@pytest.mark.parametrize("kind", KINDS)
def test_the_planted_direction_leads_and_holds_on_c(kind, data, all_effects) -> None:
    effects = all_effects[kind]
    group = first_group(effects, data)
    assert group.position_class == RESPONSE
    assert group.direction == 1
    assert along(effects, group, data.direction) > 0.9
    assert effects.dictionary.w_dec.norm(dim=1).max() == pytest.approx(1, abs=1e-4)
    (moved,) = measure_movement([group], data.extraction, 0)
    assert moved.p_adjusted is not None
    assert moved.p_adjusted < 0.01
    assert moved.low > 0


@pytest.mark.parametrize("kind", KINDS)
def test_swapping_the_pair_mirrors_every_kind(kind, data, all_effects) -> None:
    effects, mirror = all_effects[kind], swapped(data)
    other = measured(mirror, kind, first="target")
    assert torch.equal(other.dictionary.w_dec, effects.dictionary.w_dec)
    for position_class in range(3):
        np.testing.assert_array_equal(other.theta(position_class), -effects.theta(position_class))
    assert other.quality.dark_matter == effects.quality.dark_matter
    assert other.quality.explained["base", "C"] == effects.quality.explained["target", "C"]
    assert other.quality.l0["base"] == effects.quality.l0["target"]
    group, turned = first_group(effects, data), first_group(other, mirror)
    assert [(m.latent, m.sign) for m in turned.members] == [(m.latent, -m.sign) for m in group.members]
    assert turned.direction == -group.direction
    np.testing.assert_array_equal(turned.scores(), -group.scores())
    residuals = residuals_of(data)
    mirrored = residuals_of(mirror)
    ratio = activity_ratio(group, data.extraction)
    assert activity_ratio(turned, mirror.extraction)[0] == pytest.approx(-ratio[0])
    opposite = {"added": "removed", "strengthened": "weakened"}
    change = classify(group, data.extraction, residuals)
    assert classify(turned, mirror.extraction, mirrored).name == opposite[change.name]


def test_a_direction_that_only_the_target_has_is_added(data, all_effects) -> None:
    effects = all_effects["crosscoder"]
    residuals = residuals_of(data)
    assert classify(first_group(effects, data), data.extraction, residuals).name == "added"


@pytest.mark.parametrize("kind", KINDS)
def test_quality_is_measured_where_it_is_defined(kind, all_effects) -> None:
    quality = all_effects[kind].quality
    reconstructs = kind in ("paired_sae", "crosscoder")
    assert all((value is not None) == reconstructs for value in quality.explained.values())
    if reconstructs:
        assert quality.explained["target", "C"] > 0.5
    assert 0 < quality.dark_matter < (0.95 if kind == "mean_diff" else 0.5)
    assert all(value > 0 for value in quality.l0.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_saved_and_loaded(kind, data, all_effects, tmp_path) -> None:
    dictionary = all_effects[kind].dictionary
    dictionary.save(tmp_path / "d")
    read = load_dictionary(tmp_path / "d")
    assert read.config == dictionary.config
    rows = data.activations["base"][:50], data.activations["target"][:50]
    classes = torch.from_numpy(data.extraction.rows.position_class)[:50]
    for side in (0, 1):
        assert torch.equal(
            read.encode_pair(rows, classes).activity[side],
            dictionary.encode_pair(rows, classes).activity[side],
        )
        assert torch.equal(read.decoder(side), dictionary.decoder(side))


def test_a_crosscoders_own_activity_is_its_part_and_the_error_along_the_direction(data, all_effects) -> None:
    crosscoder = all_effects["crosscoder"].dictionary
    assert isinstance(crosscoder, Crosscoder)
    rows = data.activations["base"][:200], data.activations["target"][:200]
    encoded = crosscoder.encode_pair(rows, torch.zeros(200, dtype=torch.long))
    assert encoded.code is not None
    row, latent = (int(i) for i in torch.nonzero(encoded.code)[3])
    for side in (0, 1):
        d_own = crosscoder.decoder(side)[latent]
        d = max(crosscoder.decoder(0)[latent], crosscoder.decoder(1)[latent], key=lambda v: float(v.norm()))
        left = rows[side][row] - encoded.reconstruction[side][row]
        amount = float((left + encoded.code[row, latent] * d_own) @ d / d.norm() ** 2)
        expected = max(0.0, amount) * float(d.norm()) / crosscoder.config.scale
        assert float(encoded.activity[side][row, latent]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert not (encoded.activity[0] > 0)[encoded.code == 0].any()


def test_scales_are_undone_before_a_crosscoders_norms_are_compared(data) -> None:
    louder = replace(data, activations={**data.activations, "target": 3 * data.activations["target"]})
    effects = measured(louder, "crosscoder")
    one, two = (
        effects.dictionary.decoder(side).norm(dim=1)[torch.from_numpy(effects.alive)] for side in (0, 1)
    )
    assert float((two / one).median()) == pytest.approx(3, rel=0.15)


def test_latent_scaling_separates_a_specific_latent_from_shared_ones(data, all_effects) -> None:
    effects = all_effects["crosscoder"]
    scaling, latent = effects.scaling, first_group(all_effects["crosscoder"], data).members[0].latent
    assert scaling is not None
    assert scaling.sums.own[latent] == 1
    assert scaling.specific(latent)
    known = np.isfinite(scaling.nu["err"][0])
    shared = known & (np.abs(effects.dictionary.w_dec.numpy() @ data.direction.numpy()) < 0.3)
    assert shared.sum() > 5
    assert np.median(scaling.nu["err"][0][shared]) == pytest.approx(1, abs=0.2)
    assert not any(scaling.specific(int(j)) for j in np.flatnonzero(shared))
    assert (scaling.nu["err"][1, known] <= scaling.nu["err"][0, known]).all()


def test_latent_scaling_is_the_regression_of_the_docstring(data, all_effects) -> None:
    effects = all_effects["crosscoder"]
    crosscoder = effects.dictionary
    assert isinstance(crosscoder, Crosscoder)
    rows = data.extraction.rows
    chosen = torch.from_numpy(~rows.discovery & rows.own)
    pair = data.activations["base"][chosen], data.activations["target"][chosen]
    f = crosscoder.encode(crosscoder.inputs(pair))
    latent = int((f > 0).sum(dim=0).argmax())
    longer = int(crosscoder.decoder(1)[latent].norm() > crosscoder.decoder(0)[latent].norm())
    d = crosscoder.w_both[latent, crosscoder.part(longer)].double()
    for side in (0, 1):
        x = pair[side] / crosscoder.config.input_scales[side] - crosscoder.b_dec[crosscoder.part(side)]
        along = x.double() @ d
        code = f[:, latent].double()
        beta = float((code @ along) / (d @ d) / (code @ code))
        assert effects.scaling.sums.beta("act", side)[latent] == pytest.approx(beta, rel=1e-3)
    answers = torch.from_numpy(rows.position_class[chosen.numpy()] == RESPONSE)
    assert 0 < answers.sum() < len(answers)
    code = f[answers][:, latent].double()
    for side in (0, 1):
        x = pair[side] / crosscoder.config.input_scales[side] - crosscoder.b_dec[crosscoder.part(side)]
        beta = float((code @ (x[answers].double() @ d)) / (d @ d) / (code @ code))
        found = effects.scaling.by_class[RESPONSE].beta("act", side)[latent]
        assert found == pytest.approx(beta, rel=1e-3)


def test_a_latent_that_only_looks_specific_is_not_added(data, all_effects) -> None:
    """The base's decoder is erased although the base has the direction: nu shows that, and the class follows nu."""
    effects = all_effects["crosscoder"]
    scaling, group = effects.scaling, first_group(all_effects["crosscoder"], data)
    both = {part: np.ones_like(nu) for part, nu in scaling.nu.items()}
    residuals = residuals_of(data)
    doubtful = replace(effects, scaling=replace(scaling, nu=both))
    assert classify(replace(group, effects=doubtful), data.extraction, residuals).name == "strengthened"


@pytest.mark.parametrize(("other", "name"), [(1 / 3, "added"), (1.0, "shared"), (3.0, "weakened")])
def test_what_fires_together_hides_no_added_latent(data, all_effects, other: float, name: str) -> None:
    """Latent scaling decides, but the ratio, which includes similar directions, has to point the same way."""
    effects = all_effects["crosscoder"]
    group = first_group(effects, data)
    group = replace(group, members=(replace(group.members[0], weight=1.0),))
    first, second = effects.dictionary.config.input_scales

    def with_base(sums):  # as if the base moved along the direction `other` times as much as the target
        return replace(sums, parts=sums.parts | {("act", 0): other * second / first * sums.parts["act", 1]})

    by_class = {at: with_base(sums) for at, sums in effects.scaling.by_class.items()}
    leaning = replace(effects, scaling=replace(effects.scaling, by_class=by_class))
    assert classify(replace(group, effects=leaning), data.extraction, residuals_of(data)).name == name


def test_a_crosscoder_works_across_widths(data) -> None:
    wide = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(3)))[0][:32]
    activations = {"base": data.activations["base"], "target": data.activations["target"] @ wide}
    pair = replace(data, activations=activations, basis=data.basis @ wide)
    effects = measured(pair, "crosscoder")
    assert effects.scaling is None
    assert effects.quality.dark_matter is None
    assert effects.quality.explained["target", "C"] > 0.5
    group = first_group(effects, pair)
    assert effects.attribution is None
    own = effects.dictionary.decoder(1)[group.members[0].latent]
    assert float(torch.nn.functional.normalize(own, dim=0) @ pair.direction) > 0.8
    residuals = residuals_of(pair)
    assert classify(group, data.extraction, residuals).name in ("added", "strengthened")


def test_principal_components_are_orthonormal_with_both_signs(data, all_effects) -> None:
    pca = all_effects["pca"].dictionary
    assert isinstance(pca, Pca)
    assert pca.config.n_latents == 2 * OPTIONS.k
    components = pca.w_dec[: OPTIONS.k]
    torch.testing.assert_close(components @ components.T, torch.eye(OPTIONS.k), atol=1e-5, rtol=0)
    assert torch.equal(pca.w_dec[OPTIONS.k :], -components)
    encoded = pca.encode_pair((data.activations["base"], data.activations["target"]), torch.empty(0))
    one, opposite = encoded.activity[1][:, : OPTIONS.k], encoded.activity[1][:, OPTIONS.k :]
    assert not ((one > 0) & (opposite > 0)).any()


def test_the_mean_shift_is_the_mean_of_each_class(data, all_effects) -> None:
    dictionary, rows = all_effects["mean_diff"].dictionary, data.extraction.rows
    assert isinstance(dictionary, MeanDiff)
    difference = data.activations["target"] - data.activations["base"]
    for c in np.unique(rows.position_class).tolist():
        chosen = torch.from_numpy(rows.discovery & (rows.position_class == c))
        torch.testing.assert_close(dictionary.shift[c], difference[chosen].mean(0), atol=1e-5, rtol=1e-4)
    codes = all_effects["mean_diff"].codes["target"][:, :].toarray()
    for c in range(codes.shape[1]):
        assert not codes[rows.position_class != c, c].any()


def test_a_difference_belongs_to_the_model_that_has_it(data) -> None:
    """With the direction planted in the base, the base's latent loses; the target gets no new one."""
    activations = dict(data.activations)
    activations["base"], activations["target"] = data.activations["target"], data.activations["base"]
    lost = replace(data, activations=activations)
    effects = measured(lost, "diff_sae")
    assert isinstance(effects.dictionary, DiffSae)
    group = first_group(effects, lost)
    assert {member.sign for member in group.members} == {-1}
    assert along(effects, group, data.direction) > 0.9
    assert all(float(effects.dictionary.w_dec[m.latent] @ data.direction) > 0 for m in group.members)


BAD = {
    "NaN": (torch.full((100, 4), math.nan), torch.ones(100, 4), OPTIONS),
    "infinite": (torch.full((100, 4), math.inf), torch.ones(100, 4), OPTIONS),
    "all zero": (torch.zeros(100, 4), torch.randn(100, 4), OPTIONS),
    "the same at every position": (torch.randn(100, 4), torch.ones(100, 4), OPTIONS),
    "k = 9 exceeds": (torch.randn(100, 4), torch.randn(100, 4), FitOptions("s", 0, 8, 9, 1, 8, 0)),
    "20 rows for 32|10 rows for 32": (torch.randn(10, 4), torch.randn(10, 4), OPTIONS),
}


COUNTED_OTHERWISE = [
    (kind, words) for kind in ("pca", "mean_diff") for words in BAD if words.startswith(("k", "2"))
]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(kind, words) for kind in KINDS for words in BAD if (kind, words) not in COUNTED_OTHERWISE],
)
def test_every_kind_refuses_what_it_cannot_learn_from(kind, words) -> None:
    first, second, options = BAD[words]
    with pytest.raises(AnalysisError, match=words):
        fit_dictionary(kind, (first, second), torch.zeros(len(first), dtype=torch.long), options)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "crosscoder"])
def test_only_a_crosscoder_takes_two_widths(kind) -> None:
    with pytest.raises(AnalysisError, match="equal shapes"):
        fit_dictionary(
            kind, (torch.randn(100, 4), torch.randn(100, 5)), torch.zeros(100, dtype=torch.long), OPTIONS
        )


@pytest.mark.parametrize("kind", ["diff_sae", "pca", "mean_diff"])
def test_equal_models_have_no_difference_to_learn(kind) -> None:
    rows = torch.randn(100, 4)
    with pytest.raises(AnalysisError, match="are equal"):
        fit_dictionary(kind, (rows, rows), torch.zeros(100, dtype=torch.long), OPTIONS)
