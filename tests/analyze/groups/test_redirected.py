"""A feature that both models have at the same tokens in different directions is redirected; no other is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from analyze.extraction import RESPONSE
from analyze.features import measure_effects
from analyze.fit import FitOptions, fit_dictionary
from analyze.groups import ChangeInside, GapOn, Group, Member, classify, make_groups
from analyze.groups.redirected import contribution_by_half, is_redirected, points_apart
from fi_store.config import DictionaryKind
from fi_store.dictionaries import ORDER, Crosscoder
from fi_store.vocabulary import Side
from tests.helpers.synthetic import Synthetic, make, residuals_of, swapped

OPTIONS = FitOptions("resid_post", 0, n_latents=48, k=4, steps=400, batch=256, seed=0)
KINDS: tuple[DictionaryKind, ...] = ("paired_sae", "crosscoder")


def turned(cosine: float, *, base: float = 6.0, target: float = 6.0, together: bool = True) -> Synthetic:
    """At the planted rows the base has `base` along u and the target `target` along v, with <u, v> = cosine.

    If not `together`, the base has it at the other rows of the same prompts instead.
    """
    data = make(n_units=200)
    u = data.direction
    other = torch.randn(len(u), generator=torch.Generator().manual_seed(1))
    other = torch.nn.functional.normalize(other - (other @ u) * u, dim=0)
    v = cosine * u + (1 - cosine**2) ** 0.5 * other
    fires = torch.from_numpy(data.planted.astype(np.float32))
    size = fires * torch.empty(len(fires)).uniform_(0.7, 1.3, generator=torch.Generator().manual_seed(2))
    rows = data.extraction.rows
    planted_units = np.unique(rows.unit[data.planted])
    elsewhere = np.isin(rows.unit, planted_units) & ~data.planted & (rows.position_class == RESPONSE)
    where = size if together else torch.from_numpy(elsewhere.astype(np.float32))

    def without(x: torch.Tensor) -> torch.Tensor:
        return x - (x @ other)[:, None] * other

    activations = {
        "base": without(data.activations["base"]) + base * where[:, None] * u,
        "target": without(data.activations["target"]) - 6.0 * fires[:, None] * u + target * size[:, None] * v,
    }
    return replace(data, activations=activations)


def change_of(data: Synthetic, kind: DictionaryKind, first: Side) -> tuple[ChangeInside, Group]:
    second: Side = "target" if first == "base" else "base"
    train = torch.from_numpy(data.extraction.rows.discovery)
    classes = torch.from_numpy(data.extraction.rows.position_class)[train]
    rows = data.activations[first][train], data.activations[second][train]
    dictionary = fit_dictionary(kind, rows, classes, OPTIONS)
    effects = measure_effects(data.extraction, dictionary, data.activations, first)
    group = make_groups("run", [effects], data.extraction, [GapOn(data.extraction.units.discovery, 1.0)])[0]
    return classify(group, data.extraction, residuals_of(data)), group


@pytest.mark.parametrize("cosine", [-1.0, 0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_turned_direction_is_redirected_in_both_orders(kind: DictionaryKind, cosine: float) -> None:
    data = turned(cosine)
    change, _ = change_of(data, kind, "base")
    assert change.name == "redirected"
    mirrored, _ = change_of(swapped(data), kind, "target")
    assert mirrored.name == "redirected"
    assert (mirrored.log2_ratio, mirrored.low, mirrored.high) == pytest.approx(
        (-change.log2_ratio, -change.high, -change.low)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_direction_is_not_redirected(kind: DictionaryKind) -> None:
    change, _ = change_of(turned(1.0, base=3.0), kind, "base")
    assert change.name == "strengthened"


@pytest.mark.parametrize("kind", KINDS)
def test_a_direction_at_other_tokens_is_not_redirected(kind: DictionaryKind) -> None:
    change, _ = change_of(turned(0.0, together=False), kind, "base")
    assert change.name != "redirected"


@pytest.mark.parametrize("kind", KINDS)
def test_a_direction_of_one_model_is_not_redirected(kind: DictionaryKind) -> None:
    change, _ = change_of(turned(0.0, base=0.0), kind, "base")
    assert change.name in ("added", "strengthened")


@pytest.mark.parametrize(
    ("case", "expected"),
    [("handed on", True), ("together in the base", False), ("one half only", False), ("few rows", False)],
)
def test_the_falling_and_the_rising_side(case: str, expected: bool) -> None:
    data = turned(0.0)
    _, group = change_of(data, "paired_sae", "base")
    random, rows = np.random.default_rng(0), data.extraction.rows
    on_c = ~rows.discovery & (rows.position_class == RESPONSE)
    half = np.zeros(rows.n, dtype=np.int64)
    half[on_c] = np.unique(data.extraction.units.clusters[rows.unit[on_c]], return_inverse=True)[1] % 2
    fires = on_c & (random.random(rows.n) < 0.2)
    if case == "few rows":
        fires &= np.cumsum(fires) <= 15
    first = np.where(fires, random.uniform(1, 2, rows.n), 0.0)
    none = np.zeros(rows.n)
    fallen, risen = [first, none], [none.copy(), first.copy()]  # in the base, in the target
    if case == "together in the base":
        risen[0] = first
    if case == "one half only":
        risen[1][half == 1] = random.permutation(risen[1][half == 1])
    activity = {
        reader: sp.csc_array(np.column_stack([fallen[at], risen[at]]).astype(np.float32))
        for at, reader in enumerate(("base", "target"))
    }
    by_hand = replace(group.effects, codes=activity, scale=np.ones(2))
    pair = replace(group, effects=by_hand, members=(Member(0, 0.6, -1), Member(1, 0.4, 1)))
    assert is_redirected(pair, data.extraction, residuals_of(data)) is expected
    other = replace(by_hand, codes={"base": activity["target"], "target": activity["base"]})
    mirrored = replace(pair, effects=other, members=(Member(0, 0.6, 1), Member(1, 0.4, -1)))
    if case != "together in the base":  # swapped, it would be together in the target
        assert is_redirected(mirrored, data.extraction, residuals_of(data)) is expected
    lonely = replace(pair, members=(Member(0, 0.9, -1), Member(1, 0.1, 1)))
    assert not is_redirected(lonely, data.extraction, residuals_of(data))


def test_an_uncertain_direction_is_not_redirected() -> None:
    data = turned(0.0)
    _, group = change_of(data, "crosscoder", "base")
    found = group.effects.dictionary
    assert isinstance(found, Crosscoder)
    rows = data.activations["base"], data.activations["target"]
    half = data.extraction.units.clusters[data.extraction.rows.unit] % 2
    latents = [member.latent for member in group.members]
    assert points_apart(found, rows, np.arange(len(half)), half, latents)
    by_half = contribution_by_half(found, rows, np.arange(len(half)), half, torch.tensor(latents))
    for side in ORDER:
        assert torch.nn.functional.cosine_similarity(*by_half[:, found.part(side)], dim=0) > 0.99
    # The same decoders on noise: the two halves give different contributions.
    noise = torch.randn(2, *rows[0].shape, generator=torch.Generator().manual_seed(3)) * 1e3
    weak = replace(found, w_enc=torch.zeros_like(found.w_enc), b_enc=torch.full_like(found.b_enc, 100.0))
    few = [part[:40] for part in noise]
    assert not points_apart(weak, (few[0], few[1]), np.arange(40), half[:40], latents)


def test_an_error_that_both_models_share_redirects_nothing() -> None:
    """What the dictionary misses at the same tokens of both models is not a direction of the base."""
    data = turned(0.0, base=0.0)
    _, group = change_of(data, "crosscoder", "base")
    found = group.effects.dictionary
    assert isinstance(found, Crosscoder)
    missed = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(5)), dim=0)
    for fires in (torch.ones(len(data.planted)), torch.from_numpy(data.planted.astype(np.float32))):
        first, second = (
            data.activations[reader] + 5.0 * fires[:, None] * missed for reader in ("base", "target")
        )
        half = data.extraction.units.clusters[data.extraction.rows.unit] % 2
        latents = [member.latent for member in group.members]
        assert not points_apart(found, (first, second), np.arange(len(half)), half, latents)
