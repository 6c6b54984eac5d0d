"""Which prompts discriminate between two models: measures by hand, categories, paragraph, command, a tiny pair."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyze.pair import smallest_detectable, write_discrimination
from analyze.pair.discrimination import category_rows
from analyze.pair.gate import PromptBehavior
from fi_store import workflow
from fi_store.progress import Progress
from fi_store.prompts import PromptRecord, PromptSuite
from fi_store.store import Store, now, run_query, write_facts
from fi_store.store.tables import AnalysisPlan, CategoryDiscrimination, Prompt, PromptDiscrimination
from fi_store.summary import ALL, adds_nothing, describe_discrimination
from tests.helpers import by_hand
from tests.helpers.command import fi_store
from tests.helpers.planted import N_FINDINGS
from tests.helpers.small_runs import ingested, small_config
from tests.helpers.store_factory import FilledStore
from tests.helpers.tiny import TinyModels


def plan(run: str, **fixed: Any) -> AnalysisPlan:
    values = {"layers": [["resid_post", 1], ["resid_post", 2]], "changes": [{}, {}], "alpha": 0.05, **fixed}
    return AnalysisPlan(run_id=run, plan=values, opened_before=0, smallest_detectable=1.0, created_at=now())


def test_a_prompts_measures_by_hand(tmp_path: Path) -> None:
    one, inside = by_hand.divergence, by_hand.summary
    store = by_hand.open_new(tmp_path)
    run = by_hand.add_run(store, by_hand.model("a"), by_hand.model("b"), [0, 1], ["D", "C"])
    by_hand.add_divergences(
        store,
        run,
        [
            one(0, "base", "prompt", kl=(9, 9)),
            one(0, "base", "start", kl=(1, 3), agree=False),
            one(0, "base", "response", base=-1, target=-3, kl=(2, 4)),
            one(0, "base", "response", kl=(9, 9), last=True),
            one(0, "target", "response", base=-5, target=-1, kl=(6, 8), agree=False),
            one(0, "target", "response", kl=(9, 9), last=True),
            one(0, "control", "start", kl=(9, 9)),
            one(1, "base", "start", kl=(0, 0)),
            one(1, "base", "response", kl=(9, 9), last=True),
        ],
    )
    vectors = [1.0, 0.0]
    by_hand.add_summaries(
        store,
        run,
        [
            inside(0, "base", 1, "response", vectors, vectors, 0.1, 1.0),
            inside(0, "base", 2, "response", vectors, vectors, 0.3, 1.0),
            inside(0, "target", 1, "response", vectors, vectors, 0.6, 1.0),
            inside(0, "target", 0, "response", vectors, vectors, 9.0, 1.0),  # a layer that was not analyzed
            inside(0, "base", 1, "prompt", vectors, vectors, 9.0, 1.0),
            inside(0, "control", 1, "response", vectors, vectors, 9.0, 1.0),
        ],
    )
    with store:
        with store.session() as session:
            session.add(plan(run))
        write_discrimination(store, store.run(run))
        write_discrimination(store, store.run(run))  # rewritten, not added
        first, second = store.rows("select * exclude (run_id) from prompt_discrimination order by prompt_id")
    # Base's text: start 2 and token 3; target's: start 2 and token 7. Agreement: base's 0, 1; target's 0, 0.
    assert first["kl_symmetric"] == pytest.approx((2.5 + 4.5) / 2)
    assert first["agreement"] == pytest.approx((0.5 + 0.0) / 2)
    assert first["gap"] == pytest.approx((2 + 4) / 2)
    assert first["relative_difference"] == pytest.approx(((0.1 + 0.3) / 2 + 0.6) / 2)
    assert second == {
        "prompt_id": "p1", "kl_symmetric": 0.0, "agreement": 1.0, "gap": None, "relative_difference": None,
    }  # fmt: skip


def behavior(kl: list[float], clusters: list[int]) -> PromptBehavior:
    n = len(kl)
    values = np.asarray(kl)
    return PromptBehavior(
        [f"p{i}" for i in range(n)], np.asarray(clusters), values, 1 - values / 10, values * 2
    )


def test_category_rows_by_hand() -> None:
    kl = [1.0, 2.0, 3.0, 2.0, 4.0, 0.0]
    found = behavior(kl, [0, 0, 1, 2, 3, 4])
    categories = np.asarray(["a", "a", "a", "a", "b", "c"])
    confirmation = np.asarray([True, True, False, True, False, True])
    relative = np.asarray([0.1, np.nan, 0.3, np.nan, np.nan, 0.2])
    rows = category_rows(found, relative, categories, confirmation, candidates=4, alpha=0.1, seed=0)
    a, b, c = rows
    assert [row["category"] for row in rows] == ["a", "b", "c"]
    assert (a["n_prompts"], a["n_clusters"], a["n_clusters_c"]) == (4, 3, 2)
    assert a["kl_symmetric"] == 2.0
    assert a["kl_low"] < 2.0 < a["kl_high"]
    assert [row["share"] for row in rows] == pytest.approx([8 / 12, 4 / 12, 0.0])
    assert (a["agreement"], a["gap"]) == (pytest.approx(0.8), pytest.approx(4.0))
    assert (a["relative_difference"], b["relative_difference"]) == (pytest.approx(0.2), None)
    assert (b["kl_low"], b["kl_high"]) == (None, None)
    # (z(1 - 0.1 / 8) + z(0.8)) / sqrt(n): 2.241403 and 0.841621 from a table of the normal distribution
    assert a["smallest_detectable"] == pytest.approx((2.241403 + 0.841621) / math.sqrt(2), abs=1e-5)
    assert b["smallest_detectable"] is None
    assert c["smallest_detectable"] == pytest.approx(a["smallest_detectable"] * math.sqrt(2))


def test_the_queries_agree_with_each_other_and_the_plan(plain_store: FilledStore) -> None:
    with Store.open(plain_store.path, read_only=True) as store:
        run = plain_store.runs[1]
        prompts = run_query(store, "prompt_discrimination", run=run, k=ALL).to_pylist()
        categories = run_query(store, "category_discrimination", run=run).to_pylist()
        only = run_query(store, "prompt_discrimination", run=run, category="formal_logic").to_pylist()
    assert [row["rank"] for row in prompts] == list(range(1, 41))
    assert [row["kl_symmetric"] for row in prompts] == sorted(
        (row["kl_symmetric"] for row in prompts), reverse=True
    )
    assert only == [row for row in prompts if row["category"] == "formal_logic"]
    assert sum(row["share"] for row in categories) == pytest.approx(1)
    for row in categories:
        mine = [prompt for prompt in prompts if prompt["category"] == row["category"]]
        assert row["n_prompts"] == len(mine)
        assert row["kl_symmetric"] == pytest.approx(np.mean([prompt["kl_symmetric"] for prompt in mine]))
        assert row["n_grades_differ"] == sum(prompt["grades_differ"] for prompt in mine)
        assert row["smallest_detectable"] == pytest.approx(
            smallest_detectable(row["n_clusters_c"], 2 * N_FINDINGS)
        )
    grades = {(row["base_grade"], row["target_grade"], row["grades_differ"]) for row in prompts}
    assert grades == {("right", "right", False), ("wrong", "right", True), ("unread", "right", True)}


def quiet_store(folder: Path, levels: dict[str, list[tuple[float, float]]]) -> tuple[Store, str]:
    """A run with nothing but discrimination: category -> (KL, agreement) of each prompt."""
    flat = [(category, *values) for category, prompts in levels.items() for values in prompts]
    store = by_hand.open_new(folder)
    run = by_hand.add_run(
        store, by_hand.model("a"), by_hand.model("b"), list(range(len(flat))), ["C"] * len(flat)
    )
    with store.session() as session:
        for i, (category, _, _) in enumerate(flat):
            session.add(
                Prompt(
                    id=f"p{i}",
                    key=f"{category}/{i}",
                    category=category,
                    family=str(i),
                    language="en",
                    text="t",
                )
            )
        columns = {
            "run_id": [run] * len(flat),
            "prompt_id": [f"p{i}" for i in range(len(flat))],
            "kl_symmetric": [kl for _, kl, _ in flat],
            "agreement": [agreement for _, _, agreement in flat],
        }
        write_facts(session, PromptDiscrimination, columns, replace={"run_id": run})
        found = PromptBehavior(
            columns["prompt_id"],
            np.arange(len(flat)),
            np.asarray(columns["kl_symmetric"]),
            np.asarray(columns["agreement"]),
            np.zeros(len(flat)),
        )
        rows = category_rows(
            found,
            np.full(len(flat), np.nan),
            np.asarray([category for category, _, _ in flat]),
            np.ones(len(flat), dtype=bool),
            candidates=3,
            alpha=0.05,
            seed=0,
        )
        session.add_all(CategoryDiscrimination(run_id=run, **row) for row in rows)
    return store, run


def test_the_paragraph_names_what_discriminates_and_what_adds_nothing(tmp_path: Path) -> None:
    levels = {
        "formal_logic": [(1.0 + i / 100, 0.5) for i in range(8)],
        "causal_reasoning": [(0.30 + i / 100, 0.7) for i in range(8)],
        "small_talk": [(0.01, 0.99)] * 8,
        "rare": [(5.0, 0.1)] * 2,
    }
    store, run = quiet_store(tmp_path, levels)
    with store:
        paragraph = describe_discrimination(store, run)
        silent = [
            row for row in run_query(store, "prompt_discrimination", k=ALL).to_pylist() if adds_nothing(row)
        ]
    assert paragraph == (
        "Over 26 prompts the models' next-word predictions are 0.81 nats apart (mean symmetric KL). "
        "Best at telling them apart: formal logic (1 nats), with 39% of the difference in 31% of the prompts. "
        "Below average: causal reasoning (0.33 nats) and small talk (0.01 nats). "
        "No difference in small talk (0.01 nats). 8 of 26 prompts add nothing: small_talk/16, small_talk/17, "
        "small_talk/18, small_talk/19, small_talk/20, small_talk/21 and 2 more."
    )
    assert {row["category"] for row in silent} == {"small_talk"}


def test_the_paragraph_without_enough_families(tmp_path: Path) -> None:
    store, run = quiet_store(tmp_path, {"a": [(0.5, 0.5)] * 7})
    with store:
        assert describe_discrimination(store, run) == (
            "Over 7 prompts the models' next-word predictions are 0.5 nats apart (mean symmetric KL). "
            "No category has the 8 prompt families that a comparison needs. Every prompt adds something."
        )


@pytest.mark.parametrize(
    ("changed", "nothing"),
    [
        ({}, True),
        ({"kl_symmetric": 0.021}, False),
        ({"agreement": 0.94}, False),
        ({"grades_differ": True}, False),
    ],
)
def test_a_prompt_within_the_bounds_of_gate_0_adds_nothing(changed: dict[str, Any], nothing: bool) -> None:
    row = {"kl_symmetric": 0.02, "agreement": 0.95, "grades_differ": None, **changed}
    assert adds_nothing(row) is nothing


# The command


def test_the_command_ranks_prompts_and_categories(plain_store: FilledStore) -> None:
    found = fi_store("prompts", "discriminate", "--store", plain_store.path, "--limit", 3)
    assert found.code == 0, found.err
    assert found.out.startswith("Over 40 prompts the models' next-word predictions are 0.5")
    assert found.out.index("smallest_detecta") < found.out.index("target_grade")
    assert "formal_logic" in found.out
    only = fi_store(
        "prompts", "discriminate", plain_store.runs[0], "--store", plain_store.path, "--by", "category"
    )
    assert "target_grade" not in only.out


def test_the_command_writes_rows_for_programs(plain_store: FilledStore, tmp_path: Path) -> None:
    options = ("--store", plain_store.path, "--format", "json")
    prompts = json.loads(fi_store("prompts", "discriminate", *options, "--limit", 4).out)
    assert [row["rank"] for row in prompts] == [1, 2, 3, 4]
    assert prompts[0]["target_answer"].startswith("Step 1")
    categories = json.loads(fi_store("prompts", "discriminate", *options, "--by", "category").out)
    assert len(categories) == 12
    file = tmp_path / "new" / "found.md"
    written = fi_store(
        "prompts", "discriminate", "--store", plain_store.path, "--format", "markdown", "--output", file
    )
    assert (written.code, written.out) == (0, "")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("Over 40 prompts")
    assert sum(line.startswith("| --- |") for line in lines) == 2


def test_the_command_keeps_hostile_names_harmless(hostile_store: FilledStore) -> None:
    for form in ("table", "markdown", "csv"):
        found = fi_store("prompts", "discriminate", "--store", hostile_store.path, "--format", form)
        assert found.code == 0, found.err
        assert not {"\x1b", "\u202e", "\x07"} & set(found.out)


def test_the_command_says_when_a_run_is_not_analyzed(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = by_hand.add_run(store, by_hand.model("a"), by_hand.model("b"), [0, 1], ["D", "C"])
    found = fi_store("prompts", "discriminate", "--store", tmp_path / "fi-store.duckdb")
    assert found.code == 2
    assert "is not analyzed yet" in found.err
    assert f"fi-store analyze {run}" in found.err


# A whole analysis


def test_an_analysis_grades_and_discriminates(tiny_models: TinyModels, tmp_path: Path) -> None:
    suite = PromptSuite(
        "graded",
        "1",
        tuple(
            PromptRecord(
                key=f"sums/{i}",
                category=("sums", "stories")[i % 2],
                text=f"A farmer has {i} sheep and buys {i * 7 % 5} more. Are these more than {i * 3 % 7}, yes or no?",
                family=f"family{i}",
                difficulty=i % 5 + 1 if i % 2 else None,
                answer="yes" if i % 2 else None,
                grader={"kind": "choice", "options": ["yes", "no"]} if i % 2 else None,
            )
            for i in range(8)
        ),
    )
    options = {
        "dictionary_steps": 5,
        "n_latents": 16,
        "k": 2,
        "dictionary_batch": 32,
        "candidates": 2,
    }
    config = small_config(tiny_models.llama, tiny_models.planted, layers="1", max_new_tokens=3, **options)
    store, run = ingested(tmp_path, config, suite)
    with store:
        workflow.analyze(store, run, Progress())
        graded = run_query(store, "graded_answers", run=run).to_pylist()
        assert len(graded) == 2 * 4
        assert {row["prompt"] for row in graded} == {"sums/1", "sums/3", "sums/5", "sums/7"}
        levels = run_query(store, "accuracy_by_difficulty", run=run).to_pylist()
        # 7 % 5 + 1 = 3, 5 % 5 + 1 = 1, ...
        assert [row["difficulty"] for row in levels] == [None, 1, 2, 3, 4]
        assert {row["chance"] for row in levels} == {0.5}
        prompts = run_query(store, "prompt_discrimination", run=run, k=ALL).to_pylist()
        assert len(prompts) == 8
        assert all(row["kl_symmetric"] > 0 and row["relative_difference"] > 0 for row in prompts)
        assert sum(row["base_grade"] is None for row in prompts) == 4
        assert {row["category"] for row in run_query(store, "category_discrimination").to_pylist()} == {
            "sums",
            "stories",
        }
        gate = store.rows("select kl_symmetric, gap from pair_gate where run_id = $run", run=run)[0]
        held = store.rows(
            "select avg(kl_symmetric) as kl_symmetric, avg(gap) as gap from prompt_discrimination as d"
            " join run_unit as u using (run_id, prompt_id) where half = 'C' and run_id = $run",
            run=run,
        )[0]
        assert held == pytest.approx(gate), "gate 0 is the mean of the same numbers over C"
