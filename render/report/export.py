"""Exports the categorized features as JSON: results by change class and by category, each with its evidence.

The file is for programs: model-written text is kept as it is, and non-ASCII characters are escaped.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from fi_store.formats import finite
from fi_store.store import Store, run_query
from fi_store.store.tables import PairGate, Run

FORMAT_VERSION = 2
Row = dict[str, Any]


def feature_export(store: Store, run: Run) -> Row:
    """The file's content: the pair, its results with what supports them, two indices of ranks, what is no result."""
    with store.session() as session:
        gate = session.get(PairGate, run.id)
    results = [_result(row) for row in _rows(store, "top_findings", run.id)]
    details: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("features", "finding_features", {}),
        ("contrasts", "finding_categories", {}),
        ("examples", "finding_examples", {"k": 5}),
        ("patches", "causal_arms", {}),
    )
    for key, query, parameters in details:
        groups = _by_rank(_rows(store, query, run.id, **parameters))
        for result in results:
            result[key] = groups[result["rank"]]
    return {
        "format": FORMAT_VERSION,
        "run": run.id,
        "base": run.base_reference,
        "target": run.target_reference,
        "verdict": gate.verdict if gate is not None else None,
        "explained": _explained(store, run.id),
        "results": results,
        "by_change": _index(results, lambda result: [result["change"]]),
        "by_category": _index(results, lambda result: result["categories"]),
        "unlocated_behaviors": _rows(store, "unlocated_behaviors", run.id),
        "moved_no_effect_shown": _rows(store, "moved_no_effect_shown", run.id),
        "internal_shifts": _rows(store, "internal_shifts", run.id),
        "features_by_layer_and_change": _rows(store, "feature_distribution", run.id),
    }


def write_features(store: Store, run: Run, folder: Path) -> Path:
    """Writes `features.json` into the folder and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "features.json"
    text = json.dumps(finite(feature_export(store, run)), indent=1, ensure_ascii=True)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _rows(store: Store, query: str, run_id: str, **parameters: Any) -> list[Row]:
    rows: list[Row] = run_query(store, query, run=run_id, **parameters).to_pylist()
    return rows


def _explained(store: Store, run_id: str) -> Row | None:
    """The share of the gap that the findings explain, with its limits."""
    rows = _rows(store, "explained_share", run_id)
    return {key: rows[0][key] for key in ("explained", "low", "high")} if rows else None


def _result(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "run_id"}


def _by_rank(rows: list[Row]) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        kept = {key: value for key, value in row.items() if key not in ("rank", "name", "title", "group_id")}
        groups[row["rank"]].append(kept)
    return groups


def _index(results: list[Row], keys: Any) -> dict[str, list[int]]:
    """Key -> ranks of its results, strongest first."""
    index: dict[str, list[int]] = defaultdict(list)
    for result in results:
        for key in keys(result):
            index[key].append(result["rank"])
    return dict(index)
