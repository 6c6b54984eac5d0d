"""The shipped pairs end to end on the real model: the planted change comes first, and null pairs have no finding."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.planted.judge import Card, hits, read_cards
from fi_store.shipped import shipped
from fi_store.vocabulary import TESTED
from tests.helpers.command import fi_store

SMALL = (
    "--limit-per-category", 5, "--candidates", 8, "--dictionary-steps", 150, "--layers", "17,28",
    "--max-new-tokens", 24, "--n-latents", 1024,
    "--skip-visualization", "--report-format", "markdown",
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One project for all pairs, so that the base answers once."""
    return tmp_path_factory.mktemp("real")


def compare(folder: Path, target: str | Path) -> list[dict[str, Any]]:
    """The rows of `top_findings` for the bundled model and a target, from the public commands."""
    completed = fi_store(
        "run", "--base-model", "bundled:smollm2", "--target-model", target, "--output-dir", folder, *SMALL
    )
    assert completed.code == 0, completed.err
    store = folder / "fi-store.duckdb"
    (run,) = re.findall(r"^Run: +(\S+)$", completed.out, re.MULTILINE)
    assert (folder / "reports" / run / "report.md").is_file()
    queried = fi_store("query", "top_findings", "--store", store, "--format", "json")
    assert queried.code == 0, queried.err
    return list(json.loads(queried.out))


def card(kind: str) -> Card:
    """A shipped organism of a kind: the demo's if it fits, else the first."""
    folder = shipped("organisms")
    demo = json.loads((folder / "demo.json").read_text(encoding="utf-8"))["folder"]
    return read_cards([folder / demo, folder], kind)[0]


@pytest.mark.real
def test_the_planted_change_comes_first(project: Path) -> None:
    planted = card("behavior")
    rows = compare(project, planted.target)
    assert hits(rows[0], planted.expected), rows[0]
    assert rows[0]["causal_status"] == TESTED


@pytest.mark.real
def test_a_certified_null_has_no_finding(project: Path) -> None:
    assert compare(project, card("null").target) == []
    verdict = fi_store("query", "pair_gate", "--store", project / "fi-store.duckdb", "--format", "json")
    assert json.loads(verdict.out)[0]["verdict"] == "no_behavioral_difference"


@pytest.mark.real
def test_the_base_against_itself_has_no_finding(project: Path) -> None:
    assert compare(project, "bundled:smollm2") == []
