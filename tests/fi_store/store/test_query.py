"""Saved queries: what they return, which parameters they take, what they refuse."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fi_store.errors import NotFoundError, UsageError
from fi_store.store import Store, get_query, list_queries, run_query
from fi_store.store.query import FOLDER, parse_query
from tests.helpers.factory_causes import EXPLAINED, whole_share
from tests.helpers.planted import LED, N_FINDINGS
from tests.helpers.store_factory import CATEGORIES, LAYERS, PLANTED, FilledStore

CONTRACT = {
    "rank", "tier", "change", "name", "description", "categories", "promoted_tokens", "suppressed_tokens",
    "trigger_tokens", "layers", "effect", "ci_low", "ci_high", "p_value", "q_value", "n_units", "share_closed",
    "share_low", "causal_status", "sentence", "words", "phrase", "behavior", "rate_patched", "rate_control",
    "rate_clean", "n_generated", "share_high", "share_control", "share_behavior", "ceiling", "side", "layer",
    "change_inside", "features",
}  # fmt: skip


@pytest.fixture(scope="module")
def store(plain_store: FilledStore) -> Iterator[Store]:
    with Store.open(plain_store.path) as opened:
        yield opened


@pytest.fixture(scope="module")
def same(same_store: FilledStore) -> Iterator[Store]:
    with Store.open(same_store.path) as opened:
        yield opened


def test_at_least_ten_described_queries() -> None:
    names = [query.name for query in list_queries()]
    assert len(names) >= 10
    assert names == sorted(names)
    assert {"top_findings", "findings_by_pair", "features_across_pairs"} <= set(names)
    assert all(query.description.endswith(".") for query in list_queries())


@pytest.mark.parametrize("name", [query.name for query in list_queries()])
def test_every_query_runs_and_uses_every_parameter(store: Store, name: str) -> None:
    query = get_query(name)
    assert set(re.findall(r"\$(\w+)", query.sql)) == {parameter.name for parameter in query.parameters}
    table = run_query(store, name)
    assert table.num_columns > 2
    if name != "internal_shifts":  # version 1 only
        assert table.num_rows > 0
    assert len(set(table.column_names)) == table.num_columns


def test_the_layer_profile_adds_units_and_divides_by_the_gap(store: Store, same: Store) -> None:
    rows = run_query(store, "layer_profile").to_pylist()
    assert [(row["layer"], row["position_class"]) for row in rows] == [
        (layer, name) for layer in LAYERS for name in ("start", "response")
    ]
    n = store.rows("SELECT count(*) AS n FROM run_unit WHERE run_id = $run", run=store.run().id)[0]["n"]
    assert {row["n_units"] for row in rows} == {n}
    assert rows[-1]["gap"] == pytest.approx(0.5 * n)
    assert rows[-1]["attribution"] == pytest.approx(0.125 * n)
    assert [row["share"] for row in rows[-2:]] == pytest.approx([0.25, 0.25])
    assert run_query(store, "layer_profile", site="mlp_out").num_rows == 0
    assert {row["share"] for row in run_query(same, "layer_profile").to_pylist()} == {None}  # no gap


def test_top_findings_holds_the_contract_in_rank_order(store: Store, plain_store: FilledStore) -> None:
    rows = run_query(store, "top_findings", run=plain_store.runs[0]).to_pylist()
    assert set(rows[0]) >= CONTRACT
    assert [row["rank"] for row in rows] == list(range(1, N_FINDINGS + 1))
    assert rows[0]["name"] == PLANTED[0].name
    assert rows[0]["promoted_tokens"] == list(PLANTED[0].promoted)
    assert rows[0]["layers"] == list(PLANTED[0].layers)
    assert {row["run_id"] for row in rows} == {plain_store.runs[0]}
    assert rows[0]["causal_status"] == "tested by patches"


def test_internal_shifts_are_not_findings(same: Store) -> None:
    assert run_query(same, "top_findings").num_rows == 0
    assert run_query(same, "internal_shifts").num_rows == len(PLANTED)
    pairs = run_query(same, "findings_by_pair").to_pylist()
    assert [(pair["verdict"], pair["name"]) for pair in pairs] == [("no_behavioral_difference", None)]


def test_features_across_pairs_counts_targets(store: Store) -> None:
    rows = run_query(store, "features_across_pairs").to_pylist()
    assert {row["name"] for row in rows} == {planted.name for planted in PLANTED[:N_FINDINGS]}
    assert all(row["n_targets"] == row["n_targets_of_base"] == len(row["targets"]) == 2 for row in rows)
    assert run_query(store, "features_across_pairs", min_targets="3").num_rows == 0
    assert run_query(store, "features_across_pairs", base="no such model").num_rows == 0


def test_heatmap_weights_the_members_of_a_group(store: Store) -> None:
    rows = [row for row in run_query(store, "feature_category_heatmap").to_pylist() if row["rank"] == 1]
    assert {row["category"] for row in rows} == set(CATEGORIES)
    # Every member has the same theta, and the weights add up to 1: the mean is 1.6 times theta in its own category.
    effect = next(row["effect"] for row in rows if row["category"] == "step_by_step_reasoning")
    assert effect == pytest.approx(1.6 * PLANTED[0].theta)


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


@pytest.mark.parametrize(
    ("change", "unlocated"),
    [
        ("SELECT 1", ["shelf"]),
        ("UPDATE behavior_share SET share = 0.19", ["Step 1", "Therefore", "shelf"]),
        ("UPDATE behavior_share SET share_low = -0.1", ["Step 1", "Therefore", "shelf"]),
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


def test_one_feature_of_each_result_gets_the_box(store: Store) -> None:
    rows = run_query(store, "feature_callouts").to_pylist()
    boxed = [row["rank"] for row in rows if row["boxed"]]
    assert sorted(boxed) == list(range(1, N_FINDINGS + 1))
    members = [row for row in rows if row["rank"] == 1]
    assert sorted(row["layer"] for row in members) == sorted([*PLANTED[0].layers, *PLANTED[LED].layers])
    assert [row["layer"] for row in members if row["boxed"]] == [
        PLANTED[0].layers[0]
    ]  # the layer of the test
    assert {row["layer"] for row in rows} == set(LAYERS)
    assert run_query(store, "feature_callouts", points=3).num_rows == 3


def test_divergence_is_the_mean_over_both_texts(store: Store, plain_store: FilledStore) -> None:
    top = run_query(store, "prompt_discrimination", run=plain_store.runs[1], k=1).to_pylist()[0]
    tokens = store.rows(
        "SELECT author, position_class, (kl_target_base + kl_base_target) / 2 AS kl FROM token_divergence "
        "WHERE run_id = $run AND prompt_id = $prompt AND author <> 'control'",
        run=plain_store.runs[1],
        prompt=top["prompt_id"],
    )
    start = next(token["kl"] for token in tokens if token["position_class"] == "start")
    means = []
    for author in ("base", "target"):
        answer = [
            row["kl"] for row in tokens if (row["author"], row["position_class"]) == (author, "response")
        ]
        means.append((start + sum(answer)) / (1 + len(answer)))
    expected = sum(means) / 2
    assert top["kl_symmetric"] == pytest.approx(expected)
    assert top["target_answer"].startswith("Step 1")
    per_category = run_query(store, "category_discrimination", run=plain_store.runs[1]).to_pylist()
    assert sum(row["n_prompts"] for row in per_category) == 40


def test_exploration_says_that_it_is_not_evidence(store: Store) -> None:
    rows = run_query(store, "exploration", category="formal_logic", layer=17, k=5).to_pylist()
    assert {row["note"] for row in rows} == {"exploration, not evidence"}
    assert {(row["category"], row["layer"]) for row in rows} == {("formal_logic", 17)}
    assert "NOT EVIDENCE" in get_query("exploration").description


def test_a_run_can_be_named_by_a_prefix(store: Store, plain_store: FilledStore) -> None:
    assert (
        run_query(store, "top_findings", run=plain_store.runs[0][:4])["run_id"][0].as_py()
        == plain_store.runs[0]
    )
    assert run_query(store, "top_findings", run="latest")["run_id"][0].as_py() == plain_store.runs[1]
    with pytest.raises(NotFoundError, match="no run"):
        run_query(store, "top_findings", run="ffff")
    with pytest.raises(UsageError, match="Several runs"):
        run_query(store, "top_findings", run="01")


def test_values_are_bound_and_never_become_sql(store: Store) -> None:
    attack = "x' OR 1=1; DROP TABLE finding; --"
    assert run_query(store, "findings_by_pair", base=attack).num_rows == 0
    assert run_query(store, "top_findings").num_rows > 0


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("top_findings", {"nope": "1"}, "has no parameter 'nope'"),
        ("top_findings", {"k": "many"}, "not a valid integer"),
        ("top_findings", {"k": True}, "not a valid integer"),
        ("top_findings", {"k": "-1"}, "not a valid integer"),
        ("top_findings", {"k": 1.5}, "not a valid integer"),
        ("top_findings", {"k": str(2**64)}, "not a valid integer"),
        ("top_findings", {"k": None}, "must have a value"),
        ("top_findings", {"run": ""}, "not a valid run"),
        ("run_history", {"archived": "perhaps"}, "not a valid boolean"),
    ],
)
def test_wrong_parameters_are_refused(
    store: Store, name: str, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run_query(store, name, **parameters)


def test_an_unknown_name_gets_suggestions() -> None:
    with pytest.raises(NotFoundError) as caught:
        get_query("top_finding")
    assert "top_findings" in caught.value.hint
    with pytest.raises(NotFoundError) as caught:
        get_query("zzzz")
    assert caught.value.hint == "list them with: fi-store query"


GOOD = """-- name: q
-- description: What.
-- parameter: k integer = 3 -- how many
-- parameter: t text -- which
SELECT $k, $t"""


def test_front_matter_is_read() -> None:
    query = parse_query(GOOD, "q.sql")
    assert query.sql == "SELECT $k, $t"
    assert [(p.name, p.type, p.required, p.default) for p in query.parameters] == [
        ("k", "integer", False, 3),
        ("t", "text", True, None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "no line '-- name: …'"),
        ("-- name: q\nSELECT 1", "no line '-- description: …'"),
        ("-- name: other\n-- description: a\nSELECT 1", "contains the query 'other'"),
        ("-- name: q\n-- color: red\nSELECT 1", "line 2: the key 'color'"),
        ("-- name: q\n-- name: q\nSELECT 1", "line 2: the key 'name'"),
        ("-- name: q\n-- parameter: k float = 1 -- how\nSELECT 1", "line 2: not 'NAME TYPE"),
        ("-- name: q\n-- parameter: k integer = 1\nSELECT 1", "line 2: not 'NAME TYPE"),
    ],
)
def test_broken_front_matter_names_the_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_query(text, "q.sql")


def test_queries_ship_beside_the_module() -> None:
    assert {path.stem for path in FOLDER.glob("*.sql")} == {query.name for query in list_queries()}
