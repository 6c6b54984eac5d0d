"""The shipped pairs end to end on the real model: what was planted comes first, and nothing comes of nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import fi_store

from fi_store.shipped import shipped

SMALL = (
    "--limit-per-category", 5, "--shams", 1, "--candidates", 8, "--dictionary-steps", 150, "--layers", "17,28",
    "--skip-visualization", "--report-format", "markdown",
)  # fmt: skip


def compare(folder: Path, target: str | Path) -> list[dict[str, Any]]:
    """`top_findings` of the bundled model against a target, by the public commands."""
    made = fi_store(
        "run", "--base-model", "bundled:smollm2", "--target-model", target, "--output-dir", folder, *SMALL
    )
    assert made.code == 0, made.err
    store = folder / "fi-store.duckdb"
    assert list((folder / "reports").glob("*/report.md"))
    asked = fi_store("query", "top_findings", "--store", store, "--format", "json")
    assert asked.code == 0, asked.err
    return list(json.loads(asked.out))


def card(kind: str) -> dict[str, Any]:
    """A shipped organism of a kind: the one of the demo, or the first of that kind."""
    folder = shipped("organisms")
    chosen = json.loads((folder / "demo.json").read_text(encoding="utf-8"))["folder"]
    for path in (folder / chosen / "card.json", *sorted(folder.glob("*/card.json"))):
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["kind"] == kind:
            return {**found, "target": path.parent / found["adapter"]}
    raise AssertionError(f"no organism of kind {kind}")


def matches(token: str, expected: str) -> bool:
    """The hit rule's match: equal, or one begins with the other and the shorter has at least four letters."""
    a, b = sorted((token.strip().casefold(), expected.strip().casefold()), key=len)
    return a == b or (len(a) >= 4 and b.startswith(a))


def hits(row: dict[str, Any], expected: dict[str, list[str]]) -> bool:
    """The hit rule of bench/planted/organisms/README.md."""
    tokens = {
        word for word in expected["tokens"] if any(matches(token, word) for token in row["promoted_tokens"])
    }
    category = not expected["categories"] or (
        row["categories"][:1] and row["categories"][0] in expected["categories"]
    )
    concept = any(part in row["name"].casefold() for part in expected["concepts"])
    return row["change"] in expected["change"] and len(tokens) >= 2 and bool(category or concept)


@pytest.mark.real
def test_the_planted_change_comes_first(tmp_path: Path) -> None:
    planted = card("behaviour")
    rows = compare(tmp_path, planted["target"])
    assert hits(rows[0], planted["expected"]), rows[0]
    assert rows[0]["causal_status"] == "not tested causally"


@pytest.mark.real
def test_a_certified_null_has_no_finding(tmp_path: Path) -> None:
    assert compare(tmp_path, card("null")["target"]) == []
    verdict = fi_store("query", "pair_gate", "--store", tmp_path / "fi-store.duckdb", "--format", "json")
    assert json.loads(verdict.out)[0]["verdict"] == "no_behavioural_difference"


@pytest.mark.real
def test_the_base_against_itself_has_no_finding(tmp_path: Path) -> None:
    assert compare(tmp_path, "bundled:smollm2") == []
