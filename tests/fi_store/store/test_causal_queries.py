"""Saved queries on the causal test: patches, what they close, what moved in vain, what nothing carries."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fi_store.store import Store, run_query
from tests.helpers.factory_causes import EXPLAINED, whole_share
from tests.helpers.planted import LED
from tests.helpers.store_factory import LAYERS, PLANTED, FilledStore


@pytest.fixture(scope="module")
def store(plain_store: FilledStore) -> Iterator[Store]:
    with Store.open(plain_store.path) as opened:
        yield opened


@pytest.fixture(scope="module")
def same(same_store: FilledStore) -> Iterator[Store]:
    with Store.open(same_store.path) as opened:
        yield opened


def test_arms_carry_the_title_of_their_change(store: Store, plain_store: FilledStore) -> None:
    run = plain_store.runs[0]
    rows = run_query(store, "causal_arms", run=run).to_pylist()
    assert (
        len(rows) == store.rows("SELECT count(*) AS n FROM arm_effect WHERE run_id = $run", run=run)[0]["n"]
    )
    titles = {(row["kind"], row["title"]) for row in rows}
    assert ("change", PLANTED[0].name) in titles
    assert ("control", PLANTED[0].name) in titles
    assert {title for kind, title in titles if kind in ("whole", "dictionary", "mean_shift")} == {None}
    assert ("change", None) in titles  # of a change that is no finding
    first = run_query(store, "causal_arms", run=run, rank=1).to_pylist()
    assert {row["title"] for row in first} == {PLANTED[0].name}
    tested = [row for row in first if row["p_value"] is not None]
    assert [(row["layer"], row["side"]) for row in tested] == [(17, "base"), (17, "target")]
    assert all(row["share_low"] < row["share"] < row["share_high"] for row in rows)


def test_the_arms_of_a_led_group_have_the_title_of_its_leader(
    plain_store: FilledStore, tmp_path: Path
) -> None:
    shutil.copy(plain_store.path, tmp_path / "s.duckdb")
    with Store.open(tmp_path / "s.duckdb") as store:
        with store.session() as session:
            session.execute(
                sa.text(
                    "UPDATE arm SET group_id = (SELECT id FROM feature_group AS g WHERE g.run_id = arm.run_id AND "
                    "leader_id IS NOT NULL) WHERE kind = 'control' AND layer = 17"
                )
            )
        rows = run_query(store, "causal_arms", rank=1).to_pylist()
    assert {row["kind"] for row in rows} == {"change", "control"}


def test_what_moved_without_an_effect(store: Store, plain_store: FilledStore, tmp_path: Path) -> None:
    rows = run_query(store, "moved_no_effect_shown").to_pylist()
    assert [row["number"] for row in rows] == [7, 8]  # the led group is part of a finding
    assert rows[0]["theta"] == pytest.approx(PLANTED[6].theta)
    assert rows[0]["share_closed"] == pytest.approx(0.004)
    assert [row["carries_none"] for row in rows] == [True, False]  # the second was not patched
    assert rows[1]["share_closed"] is None
    assert run_query(store, "moved_no_effect_shown", k=1).num_rows == 1
    for change in (
        "UPDATE arm_effect SET share_high = 0.05 WHERE side = 'base' AND share < 0.01",
        "DELETE FROM arm_effect WHERE side = 'base'",
    ):
        shutil.copy(plain_store.path, tmp_path / "s.duckdb")
        with Store.open(tmp_path / "s.duckdb") as changed:
            with changed.session() as session:
                session.execute(sa.text(change))
            moved = run_query(changed, "moved_no_effect_shown").to_pylist()
        assert not any(row["carries_none"] for row in moved)


UNTOLD = "UPDATE finding SET behavior = NULL"


@pytest.mark.parametrize(
    ("change", "unlocated"),
    [
        ("SELECT 1", ["shelf"]),
        ("UPDATE behavior_share SET share = 0.19", ["shelf"]),  # what a finding tells, it carries
        (UNTOLD, ["shelf"]),  # they close a fifth of it
        (f"{UNTOLD}; UPDATE behavior_share SET share = 0.19", ["Step 1", "Therefore", "shelf"]),
        (f"{UNTOLD}; UPDATE behavior_share SET share_low = -0.1", ["Step 1", "Therefore", "shelf"]),
        ("UPDATE behavior_share SET share = 0.2, share_low = 0.01", []),
        (
            "DELETE FROM behavior_share",
            ["shelf"],
        ),  # too few prompts for a share: the finding's own behavior is carried
        ("DELETE FROM finding", ["Step 1", "Therefore", "shelf"]),
        ("UPDATE behavior SET confirmed = false", []),
    ],
)
def test_behaviors_that_nothing_carries(
    plain_store: FilledStore, tmp_path: Path, change: str, unlocated: list[str]
) -> None:
    shutil.copy(plain_store.path, tmp_path / "s.duckdb")
    with Store.open(tmp_path / "s.duckdb") as store:
        with store.session() as session:
            session.execute(sa.text(change))
        rows = run_query(store, "unlocated_behaviors").to_pylist()
    assert [row["phrase"] for row in rows] == unlocated


def test_the_explained_share_is_that_of_the_latest_analysis(plain_store: FilledStore, tmp_path: Path) -> None:
    shutil.copy(plain_store.path, tmp_path / "s.duckdb")
    with Store.open(tmp_path / "s.duckdb") as store:
        run = store.run().id
        rows = run_query(store, "explained_share").to_pylist()
        assert [(row["sentence"], row["explained"], row["low"]) for row in rows] == [(EXPLAINED, 0.64, 0.51)]
        store.event(
            run, "analyze", "choice", "Half.", value=0.5, detail={"explained": 0.5, "low": 0, "high": 1}
        )
        assert run_query(store, "explained_share")["sentence"].to_pylist() == ["Half."]
        store.event(run, "analyze", "state", "analyzing")
        store.event(run, "analyze", "choice", "Another choice.")
        assert run_query(store, "explained_share").num_rows == 0


def test_answers_of_a_finding_come_with_those_under_its_patch(store: Store) -> None:
    rows = run_query(store, "finding_answers", rank=1).to_pylist()
    assert len(rows) == 16  # the held-out prompts
    patched = [row for row in rows if row["patched_answer"] is not None]
    assert patched == rows[:8]
    assert {row["patched_side"] for row in patched} == {"target"}
    assert all(row["patched_answer"].startswith("You have") for row in patched)
    assert all(row["control_answer"].startswith("Step 1") for row in patched)
    assert all(row["target_answer"].startswith("Step 1") for row in rows)
    third = run_query(store, "finding_answers", rank=3, k=2).to_pylist()
    assert [row["patched_answer"] for row in third] == [None, None]


def test_requests_are_counted_by_state(store: Store) -> None:
    rows = run_query(store, "probe_requests").to_pylist()
    assert [(row["kind"], row["side"], row["state"]) for row in rows] == [
        ("generate", "target", "answered"), ("read", "base", "answered"), ("read", "target", "answered"),
    ]  # fmt: skip
    assert (rows[0]["n_requests"], rows[0]["n_prompts"]) == (4, 32)


def test_what_a_layer_closes_is_the_sum_over_its_arms(store: Store, plain_store: FilledStore) -> None:
    row = run_query(store, "dictionary_quality", run=plain_store.runs[0]).to_pylist()[0]
    whole = 0.95 * sum(
        whole_share(LAYERS[0], name) for name in ("start", "response")
    )  # the base closes 0.9 of it
    assert row["layer"] == LAYERS[0]
    assert row["share_whole"] == pytest.approx(whole)
    assert row["share_dictionary"] == pytest.approx(0.85 * whole)
    assert row["share_mean_shift"] == pytest.approx(0.6 * whole)
    assert row["loss_recovered_base"] is None


def test_positions_that_two_arms_patch_are_counted_once(plain_store: FilledStore, tmp_path: Path) -> None:
    shutil.copy(plain_store.path, tmp_path / "s.duckdb")
    with Store.open(tmp_path / "s.duckdb") as store:
        with store.session() as session:
            session.execute(
                sa.text(
                    "UPDATE arm SET position_classes = ['start', 'response'] "
                    "WHERE kind = 'whole' AND position_classes = ['response']"
                )
            )
        row = run_query(store, "dictionary_quality").to_pylist()[0]
    assert row["share_whole"] == pytest.approx(0.95 * whole_share(LAYERS[0], "response"))


def test_version_1_keeps_its_results(same: Store) -> None:
    row = run_query(same, "dictionary_quality").to_pylist()[0]
    assert (row["loss_recovered_base"], row["loss_recovered_target"]) == (0.83, 0.82)
    assert row["share_dictionary"] is None
    for name in ("causal_arms", "explained_share", "finding_answers", "moved_no_effect_shown"):
        assert run_query(same, name).num_rows == 0


def test_features_at_the_tested_layer_come_first(store: Store) -> None:
    rows = run_query(store, "finding_features", rank=1).to_pylist()
    assert [row["layer"] for row in rows] == [17, 23, 28, 23]
    assert [row["group_number"] for row in rows] == [1, 1, 1, LED + 1]
    assert len({row["group_id"] for row in rows}) == 1  # the finding's
