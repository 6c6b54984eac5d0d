"""Matching across runs: directions, profiles, the assignment, statuses, and what is refused or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from analyze.compare import compare_runs
from analyze.compare.match import Likeness, MatchRow, direction_cosine, likeness, match_results
from analyze.compare.profiles import ResultGroup, RunResults, load_results
from analyze.extraction import SiteLayer
from fi_store.dictionaries import load_directions
from fi_store.errors import AnalysisError, NotFoundError
from fi_store.store import Store, write_facts
from fi_store.store.tables import (
    Dictionary,
    Feature,
    FeatureActivation,
    FeatureGroupMember,
    FeatureSummary,
    Finding,
    PairGate,
)
from tests.helpers import by_hand

SITE_LAYERS: frozenset[SiteLayer] = frozenset({("resid_post", 1), ("resid_post", 2)})


def group(
    name: str,
    direction: Sequence[float] | None = None,
    profile: Sequence[float] = (),
    *,
    change: str = "strengthened",
    position_class: str = "start",
    layer: int = 1,
) -> ResultGroup:
    """A result with a direction in one layer and a profile over prompts p0, p1, ..."""
    vector = {("resid_post", layer): np.array(direction, dtype=np.float64)} if direction is not None else None
    cells = {(f"p{i}", position_class): value for i, value in enumerate(profile)}
    return ResultGroup(name, change, position_class, vector, cells, {})


def results(
    *groups: ResultGroup,
    model: str = "base",
    width: int = 2,
    site_layers: frozenset[SiteLayer] = SITE_LAYERS,
) -> RunResults:
    return RunResults(list(groups), frozenset({model}), frozenset({width}), site_layers)


RISING = list(range(10))
OTHER = [3, -1, 4, -1, 5, -9, 2, -6, 5, -3]


def test_every_status() -> None:
    a = results(
        group("same", [1, 0], RISING),
        group("turned", [0, 1], OTHER),
        group("flipped", [1, 1], [i % 3 for i in range(10)]),
        group("lost", [-1, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    )
    b = results(
        group("fresh", [0, -1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        group("flipped2", [1.01, 1], [i % 3 for i in range(10)], change="weakened"),
        group("same2", [1, 0.1], RISING),
        group("turned2", [1, 0.5], OTHER),
    )
    rows = match_results(a, b)
    assert [(row.number, row.group_a, row.group_b, row.status) for row in rows] == [
        (1, "same", "same2", "stable"),
        (2, "turned", "turned2", "drifted"),  # the same profile, but the cosine is 0.45
        (3, "flipped", "flipped2", "drifted"),  # the same direction, but another change class
        (4, "lost", None, "gone"),
        (5, None, "fresh", "new"),
    ]
    assert rows[0].direction_cosine == pytest.approx(1 / np.sqrt(1.01))
    assert rows[0].profile_correlation == pytest.approx(1)
    assert rows[1].direction_cosine == pytest.approx(0.5 / np.sqrt(1.25))
    assert rows[3][4:] == (None, None)


def test_the_assignment_takes_the_largest_sum_not_the_first_best() -> None:
    """Row by row, x would get the first column (0.98) and y would be left with 0.48, which is under the minimum."""
    a = results(group("x", [1, 0.2]), group("y", [1, 0]))
    b = results(group("left", [1, 0]), group("right", [0.55, 1]))
    pairs = {row.group_a: row.group_b for row in match_results(a, b)}
    assert pairs == {"x": "right", "y": "left"}


def test_an_equal_change_class_decides_a_tie() -> None:
    a = results(group("x", [1, 0]), group("y", [1, 0], change="weakened"))
    b = results(group("down", [1, 0], change="weakened"), group("up", [1, 0]))
    assert {row.group_a: (row.group_b, row.status) for row in match_results(a, b)} == {
        "x": ("up", "stable"),
        "y": ("down", "stable"),
    }


@pytest.mark.parametrize(
    "other",
    [
        {"model": "another base"},
        {"width": 3},
        {"site_layers": frozenset({("resid_post", 9)})},
    ],
)
def test_other_spaces_are_matched_by_profile_alone(other: dict[str, Any]) -> None:
    a = results(group("x", [1, 0], RISING), group("y", [0, 1], OTHER))
    b = results(group("u", [1, 0], OTHER), group("v", [0, 1], RISING), **other)
    rows = match_results(a, b)
    assert [(row.group_a, row.group_b, row.status, row.direction_cosine) for row in rows] == [
        ("x", "v", "stable", None),
        ("y", "u", "stable", None),
    ]


def test_profiles() -> None:
    none = frozenset[SiteLayer]()
    turned = likeness(group("a", None, RISING), group("b", None, [-i for i in RISING]), none)
    assert turned == (None, pytest.approx(1))  # the same features, moving the other way
    # a group of another position class shares no cell
    assert likeness(group("a", None, RISING), group("b", None, RISING, position_class="prompt"), none) == (
        None,
        None,
    )
    assert likeness(group("a", None, RISING), group("b", None, [1] * 10), none).correlation is None
    assert Likeness(None, None).score == -1


def test_few_shared_prompts_fall_back_to_categories() -> None:
    def with_categories(name: str, values: Sequence[float]) -> ResultGroup:
        cells = {(category, "start"): value for category, value in zip("abcd", values, strict=True)}
        return ResultGroup(name, "added", "start", None, {("p0", "start"): 1.0}, cells)

    found = likeness(with_categories("x", [1, 2, 3, 4]), with_categories("y", [2, 4, 6, 8]), frozenset())
    assert found.correlation == pytest.approx(1)


VECTORS = st.lists(
    st.floats(-10, 10, allow_nan=False).filter(lambda x: abs(x) > 1e-3), min_size=3, max_size=3
)


@given(VECTORS, VECTORS, st.floats(0.1, 100))
def test_cosine_over_layers_is_the_cosine_of_the_stacked_vectors(
    x: list[float], y: list[float], scale: float
) -> None:
    a = {("s", 1): np.array(x), ("s", 2): np.array(y)}
    b = {("s", 2): scale * np.array(y)}
    stacked = np.linalg.norm(y) / np.linalg.norm([*x, *y])
    assert direction_cosine(a, b) == pytest.approx(stacked, abs=1e-9)
    assert direction_cosine(b, a) == pytest.approx(stacked, abs=1e-9)
    assert direction_cosine(a, a) == pytest.approx(1)


def test_cosine_is_unknown_without_a_direction() -> None:
    one = {("s", 1): np.array([1.0, 0.0])}
    assert direction_cosine(one, {}) is None
    assert direction_cosine(one, {("s", 1): np.zeros(2)}) is None
    assert direction_cosine(one, {("s", 1): np.ones(3)}) is None


# --- from a store ---------------------------------------------------------------------------------------------

DECODER = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)


def add_results(
    store: Store, target: str, weights: dict[str, list[tuple[int, float]]], decoder: np.ndarray
) -> str:
    """A run of nine prompts with one dictionary at layer 1; groups are lists of (latent, weight).

    Latent j fires once on prompt i, in the target alone, with value (i + 1) (j + 1) at the first response token.
    """
    run = by_hand.add_run(
        store, by_hand.model("base", 2, 2), by_hand.model(target, 2, 2), range(9), ["C"] * 9
    )
    rows = []
    for prompt in range(9):
        rows += [
            by_hand.divergence(prompt, "base", "response"),
            by_hand.divergence(prompt, "base", "response"),
        ]
        rows += [
            by_hand.divergence(prompt, "target", "response"),
            by_hand.divergence(prompt, "control", "prompt"),
        ]
    by_hand.add_divergences(store, run, rows)
    folder = store.folder / "features" / run / "dictionaries" / "resid_post.01"
    folder.mkdir(parents=True)
    save_file({"W_dec": decoder}, folder / "weights.safetensors")
    dictionary, members, activations = f"d-{run}", [], []
    features = [_feature(run, dictionary, latent) for latent in range(3)]
    for name, parts in weights.items():
        for latent, weight in parts:
            members.append(
                FeatureGroupMember(
                    group_id=f"{name}-{run}",
                    feature_id=f"{run}-{latent}",
                    run_id=run,
                    weight=weight,
                    side="gains",
                )
            )
    for latent in range(3):
        for prompt in range(9):
            for row in (4 * prompt, 4 * prompt + 3):  # the control text's row must not count
                activations.append(
                    {
                        "run_id": run,
                        "feature_id": f"{run}-{latent}",
                        "layer": 1,
                        "latent": latent,
                        "row": row,
                        "value_base": 0.0,
                        "value_target": float((prompt + 1) * (latent + 1)),
                    }
                )
    with store.session() as session:
        session.add_all(
            [_dictionary(dictionary, run, folder.relative_to(store.folder)), *features, *members, _gate(run)]
        )
        session.add_all(_finding(run, f"{name}-{run}", rank) for rank, name in enumerate(weights, 1))
        columns = {key: [row[key] for row in activations] for key in activations[0]}
        write_facts(session, FeatureActivation, columns, replace={"run_id": run})
        write_facts(session, FeatureSummary, _summaries(run), replace={"run_id": run})
    return run


def _summaries(run: str) -> dict[str, list[Any]]:
    """Latent 0 in two categories and both halves: theta sums 2 and 4 over 1 and 2 units, then 9 over 3."""
    rows = [("c", "D", 1, 2.0), ("c", "C", 2, 4.0), ("e", "C", 3, 9.0), ("*", "C", 5, 100.0)]
    fixed: dict[str, Any] = {"run_id": run, "feature_id": f"{run}-0", "layer": 1, "latent": 0, "n_nonzero": 1}
    fixed |= {"position_class": "response", "mean_base": 0.0, "mean_target": 1.0, "sumsq_theta": 1.0}
    columns: dict[str, list[Any]] = {name: [value] * len(rows) for name, value in fixed.items()}
    columns |= {
        name: [row[i] for row in rows] for i, name in enumerate(("category", "half", "n", "sum_theta"))
    }
    return columns | {"max_abs_theta": [1.0] * len(rows)}


def _dictionary(dictionary_id: str, run: str, path: Path) -> Dictionary:
    numbers = dict.fromkeys(
        ("ev_base_d", "ev_target_d", "ev_base_c", "ev_target_c", "l0_base", "l0_target"), 0.0
    )
    return Dictionary(
        id=dictionary_id, run_id=run, kind="paired_sae", site="resid_post", layer=1, d_model=2, n_latents=3, k=1,
        seed=0, steps=1, n_rows=1, path=str(path), scale=1.0, threshold=0.0, dead_share=0.0, dark_matter=0.0, **numbers,
    )  # fmt: skip


def _feature(run: str, dictionary: str, latent: int) -> Feature:
    return Feature(
        id=f"{run}-{latent}", run_id=run, dictionary_id=dictionary, site="resid_post", layer=1, latent=latent,
        alive=True, n_fire_base=1, n_fire_target=1, scale=2.0, decoder_norm_base=1.0, decoder_norm_target=1.0,
        change="added",
    )  # fmt: skip


def _gate(run: str) -> PairGate:
    return PairGate(
        run_id=run, gap=0.0, gap_low=0.0, gap_high=0.0, kl_symmetric=0.0, kl_low=0.0, kl_high=0.0, agreement=1.0,
        n_units=9, verdict="different",
    )  # fmt: skip


def _finding(run: str, group_id: str, rank: int) -> Finding:
    return Finding(
        run_id=run, group_id=group_id, rank=rank, tier="observation", causal_status="-", change="added", named=False,
        name="-", description="-", sentence="-", position_class="response", layers=[1], categories=[],
        promoted_tokens=[], suppressed_tokens=[], trigger_tokens=[], effect=1.0, ci_low=0.0, ci_high=2.0, floor=0.01,
        p_value=0.01, q_value=0.01, n_units=9,
    )  # fmt: skip


def test_inputs_from_a_store(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = add_results(store, "t", {"g": [(0, 0.75), (2, -0.25)]}, DECODER)
        found = load_results(store, store.run(run))
    assert found.lineage == {"base", "t"}
    assert found.site_layers == {("resid_post", 1)}
    only = found.groups[0]
    assert only.direction is not None
    assert only.direction["resid_post", 1] == pytest.approx(0.75 * DECODER[0] - 0.25 * DECODER[2])
    # value v on one of the base text's two tokens, none on the target's text: (v / 2 + 0) / 2, over the scale 2
    theta = [(0.75 * (i + 1) - 0.25 * 3 * (i + 1)) / 8 for i in range(9)]
    assert only.by_prompt == {(f"p{i}", "response"): pytest.approx(theta[i]) for i in range(9)}
    assert only.by_category == {("c", "response"): pytest.approx(1.5), ("e", "response"): pytest.approx(2.25)}


def test_compare_writes_the_matches_and_replaces_them(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        first = add_results(store, "t1", {"g": [(0, 1.0)], "h": [(1, 1.0)]}, DECODER)
        second = add_results(store, "t2", {"k": [(2, 1.0)]}, DECODER[[1, 0, 1]])
        rows = compare_runs(store, first, second)
        compare_runs(store, first, second)
        stored = store.rows("select * from feature_match order by number")
        itself = compare_runs(store, "latest", second)
    assert rows == [
        MatchRow(1, f"g-{first}", None, "gone", None, None),
        MatchRow(2, f"h-{first}", f"k-{second}", "stable", pytest.approx(1), pytest.approx(1)),
    ]
    assert [tuple(row.values()) for row in stored] == [
        (first, second, 1, f"g-{first}", None, "gone", None, None),
        (first, second, 2, f"h-{first}", f"k-{second}", "stable", pytest.approx(1), pytest.approx(1)),
    ]
    assert [row.status for row in itself] == ["stable"]


def test_a_removed_dictionary_leaves_the_profile_and_a_warning(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = add_results(store, "t", {"g": [(0, 1.0)]}, DECODER)
        folder = tmp_path / "features" / run / "dictionaries" / "resid_post.01"
        (folder / "weights.safetensors").unlink()
        folder.rmdir()
        assert compare_runs(store, run, run)[0][3:] == ("stable", None, pytest.approx(1))
        warnings = store.rows("select message from run_event where kind = 'warning'")
    assert "profile alone" in warnings[0]["message"]


def test_refusals(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = by_hand.add_run(store, by_hand.model("a"), by_hand.model("b"), [0], ["C"])
        with pytest.raises(AnalysisError, match="not analyzed"):
            compare_runs(store, run, run)
        with pytest.raises(NotFoundError):
            compare_runs(store, run, "zzz")
        two = add_results(store, "t", {}, DECODER)
        assert compare_runs(store, two, two) == []
    with pytest.raises(AnalysisError, match="cannot be read"):
        load_directions(tmp_path / "features" / two / "dictionaries" / "resid_post.01", [3])
