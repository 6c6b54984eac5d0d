"""A store of version 1 upgrades: its results stay, and what shams and spliced losses showed is kept in another form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from fi_store.config import RunConfig
from fi_store.store import Store, run_query
from fi_store.store import engine as db
from tests.fi_store.store.test_migrations import make_schema

CONFIG_1 = {
    "base_model": "bundled:smollm2", "target_model": "a", "candidates": 30, "limit_per_category": None,
    "feature_threshold": 0.01, "shams": 2, "skip_probes": False,
}  # fmt: skip
"""Options of a run of version 1."""
SENTENCE_1 = "In the target, more 'Step' opens an answer (0.21 per token [0.17, 0.25]; not tested causally)."
ROWS_1: dict[str, list[dict[str, Any]]] = {
    "run": [
        {
            "id": run, "extraction_run_id": "one", "base_model_id": "b", "target_model_id": "t",
            "base_reference": "bundled:smollm2", "target_reference": "a", "prompt_set_id": "s", "state": "complete",
            "config": json.dumps({**CONFIG_1, "skip_probes": run == "two"}), "extraction_key": "k", "versions": "{}",
            "device": "cpu", "dtype": "float32", "dtype_reason": "", "canonical_first": "base",
            "chat_template": "base", "seed": 0, "archived": False, "created_at": "2026-11-01T00:00:00Z",
        }
        for run in ("one", "two")
    ],
    "run_event": [
        {"run_id": run, "number": number, "at": "2026-11-01T00:00:00Z", "stage": "extract", "kind": "state",
         "message": state}
        for run in ("one", "two")
        for number, state in enumerate(("extracting", "extracted"))
    ],
    "sham_target": [
        {"run_id": "one", "number": number, "seed": 0, "scale": 1.0, "relative_difference_pair": 0.12,
         "relative_difference_sham": 0.12}
        for number in range(2)
    ],
    "sham_result": [
        {"run_id": "one", "number": number, "n_tested": 9, "n_confirmed": number} for number in range(2)
    ],
    "activation_shard": [
        {"run_id": "one", "kind": "activation", "reader": reader, "site": "resid_post", "layer": 17, "chunk": 0,
         "path": f"activations/one/{reader}/resid_post.17.0000.safetensors", "first_row": 0, "n_rows": 1,
         "d_model": 1, "dtype": "float32", "n_bytes": 4, "state": "present"}
        for reader in ("base", "target", "sham_0", "sham_1")
    ],
    "dictionary": [
        {"id": name, "run_id": "one", "kind": "paired_sae", "site": "resid_post", "layer": layer, "d_model": 1,
         "n_latents": 8, "k": 1, "seed": 0, "steps": 1, "n_rows": 1, "path": f"features/one/{name}", "scale": 1.0,
         "threshold": 0.0, "l0_base": 1.0, "l0_target": 1.0, "dead_share": 0.0}
        for name, layer in (("early", 17), ("late", 28))
    ],
    "probe_request": [
        {"id": f"splice-{name}", "run_id": "one", "kind": "splice", "dictionary_id": name, "prompt_ids": ["p", "q"],
         "state": state}
        for name, state in (("early", "answered"), ("late", "failed"))
    ],
    "intervention": [
        {"request_id": "splice-early", "reader": reader, "prompt_id": prompt, "arm": arm, "run_id": "one",
         "n_tokens": n_tokens, "loss": loss}
        for reader, prompt, n_tokens, losses in (
            ("base", "p", 10, (1.0, 1.5, 4.0)), ("base", "q", 30, (2.0, 3.0, 8.0)), ("target", "p", 10, (3.0, 3.0, 3.0))
        )
        for arm, loss in zip(("clean", "spliced", "ablated"), losses, strict=True)
    ],
    "feature_group": [
        {"id": "g", "run_id": "one", "number": 1, "position_class": "start", "layers": [17], "n_features": 1,
         "attributed": 0.2, "share": 0.1, "selected": True, "scope": ["sums"]}
    ],
    "feature_summary": [
        {"run_id": "one", "feature_id": "f", "layer": 17, "latent": 0, "position_class": "start", "category": "*",
         "half": "D", "n": 2, "n_nonzero": 2, "mean_base": 0.0, "mean_target": 1.0, "sum_theta": 1.0,
         "sumsq_theta": 1.0, "max_abs_theta": 1.0, "q_explore": 0.001}
    ],
    "finding": [
        {"run_id": "one", "group_id": "g", "rank": 1, "tier": "observation", "causal_status": "not tested causally",
         "change": "strengthened", "named": True, "name": "more 'Step'", "description": "", "sentence": SENTENCE_1,
         "position_class": "start", "layers": [17], "categories": ["sums"], "promoted_tokens": ["Step"],
         "suppressed_tokens": [], "trigger_tokens": [], "effect": 0.21, "ci_low": 0.17, "ci_high": 0.25,
         "floor": 0.05, "p_value": 0.001, "q_value": 0.001, "n_units": 40}
    ],
}  # fmt: skip
"""Rows of a store of version 1, by table: a run with shams and spliced losses, and one that reuses its extraction."""


@pytest.fixture(scope="module")
def first_edition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that version 1 filled, upgraded."""
    path = tmp_path_factory.mktemp("first") / "s.duckdb"
    make_schema(path, "0010")
    with duckdb.connect(str(path)) as connection:
        for table, rows in ROWS_1.items():
            names, marks = ", ".join(f'"{name}"' for name in rows[0]), ", ".join("?" for _ in rows[0])
            for row in rows:
                connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', list(row.values()))
    db.upgrade_schema(path)
    with Store.open(path) as store:
        yield store


def test_results_of_version_1_stay_as_they_were(first_edition: Store) -> None:
    (old,) = ROWS_1["finding"]
    (finding,) = first_edition.rows("SELECT * FROM finding")
    assert {name: finding[name] for name in old} == old
    assert all(value is None for name, value in finding.items() if name not in old)
    (feature,) = run_query(first_edition, "exploration", run="one").to_pylist()
    assert feature["mean_theta"] == 0.5


def test_spliced_losses_become_shares_of_the_dictionaries(first_edition: Store) -> None:
    rows = first_edition.rows(
        "SELECT id, loss_recovered_base, loss_recovered_target FROM dictionary ORDER BY id"
    )
    # clean, spliced, ablated: 10 + 60, 15 + 90, 40 + 240; with zeros the target loses nothing
    assert rows == [
        {"id": "early", "loss_recovered_base": pytest.approx(1 - 35 / 210), "loss_recovered_target": None},
        {"id": "late", "loss_recovered_base": None, "loss_recovered_target": None},
    ]
    assert first_edition.rows("SELECT * FROM probe_request") == []
    assert first_edition.rows("SELECT * FROM intervention") == []


def test_what_shams_showed_becomes_an_event(first_edition: Store) -> None:
    """Their shards are no longer in the store, so `fi-store gc` removes the files."""
    events = first_edition.rows(
        "SELECT run_id, number, message FROM run_event WHERE kind = 'choice' ORDER BY run_id"
    )
    compared = "Version 1 compared with 2 sham targets"
    assert events == [
        {
            "run_id": "one",
            "number": 2,
            "message": f"{compared}; 1 of their groups held on the confirmation half.",
        },
        {"run_id": "two", "number": 2, "message": f"{compared}."},
    ]
    readers = first_edition.rows("SELECT reader FROM activation_shard ORDER BY reader")
    assert readers == [{"reader": "base"}, {"reader": "target"}]


def test_options_of_version_1_load(first_edition: Store) -> None:
    configs = [RunConfig(**first_edition.run(run).config) for run in ("one", "two")]
    assert [config.interventions for config in configs] == ["default", "off"]
    for config in configs:
        assert (config.candidates, config.limit_per_category, config.feature_threshold) == (30, None, 0.03)
