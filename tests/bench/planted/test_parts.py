"""Whole parts of the planted measurements on tiny models: runs, tables and resumption, whatever is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.planted import edits, nulls, organisms, runs
from fi_store.store import Store
from tests.helpers.command import fi_store

if TYPE_CHECKING:
    from tests.helpers.tiny import TinyModels

OPTIONS = {
    "limit_per_category": 10, "categories": ["formal_logic", "general_control"], "max_new_tokens": 4, "shams": 1,
    "layers": "1", "n_latents": 32, "k": 4, "dictionary_steps": 10, "candidates": 4, "quantization": "fp32",
    "skip_visualization": True, "report_format": "markdown",
}  # fmt: skip
SETTINGS = {
    "organisms": {"options": OPTIONS, "seeds": [0, 1], "random_latents": 2, "label_draws": 5},
    "nulls": {"options": OPTIONS, "shams": 2, "permutations": 3},
    "edits": {
        "options": OPTIONS, "categories": OPTIONS["categories"], "layer": 0, "layers": [0, 1], "sizes": [2.0],
        "seeds": [0, 1], "active": 1,
    },
}  # fmt: skip


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tiny_models: TinyModels) -> list[str]:
    """Makes the parts small and runs their commands in this process; returns the list of commands, which grows."""
    given: list[str] = []

    def here(*words: object) -> str:
        given.append(str(words[0]))
        made = fi_store(*words)
        assert made.code == 0, made.err
        return made.out

    monkeypatch.setattr(runs, "command", here)
    for part in (organisms, nulls, edits):
        monkeypatch.setattr(part, "load_settings", lambda name, *, quick: SETTINGS[name])
    for part in (nulls, edits):
        monkeypatch.setattr(part, "BUNDLED", str(tiny_models.llama))
    return given


def organism(folder: Path, models: TinyModels, kind: str) -> Path:
    """An organism's folder around a tiny adapter."""
    adapter = models.planted if kind == "behavior" else models.adapter
    folder.mkdir()
    expected: dict[str, list[str]] = {
        "change": ["added"],
        "categories": [],
        "tokens": ["the"],
        "concepts": [],
    }
    card = {
        "name": folder.name, "base": str(models.llama), "adapter": str(adapter), "kind": kind, "expected": expected,
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def test_organisms_are_run_judged_and_not_run_again(
    commands: list[str], tiny_models: TinyModels, tmp_path: Path
) -> None:
    cards = [organism(tmp_path / "one", tiny_models, "behavior")]
    found = organisms.run(False, tmp_path / "work", cards)
    assert commands.count("run") == 4
    with Store.open(tmp_path / "work" / "fi-store.duckdb", read_only=True) as store:
        extracted = store.rows("select extraction_run_id = id as own from run order by id")
        assert [row["own"] for row in extracted] == [True, False] * 2  # both seeds, forward and mirrored
        states = store.rows("select distinct state from activation_shard")
        assert states == [{"state": "removed"}]  # judged runs no longer need activations
    names = [figure.name for figure in found.figures]
    assert names[:2] == ["hit at 1: one, forward", "hit at 3: one, forward"]
    assert "hit at 3 by other cards" not in names  # there is no other card
    (exact,) = (figure for figure in found.figures if figure.name.startswith("exchanged runs"))
    assert exact.ok is True, exact.detail
    assert exact.detail.startswith("2 of 2, ")
    again = organisms.run(False, tmp_path / "work", cards)
    assert commands.count("run") == 4
    assert again.raw == found.raw
    json.dumps(found.raw)


def test_nulls_of_every_kind(commands: list[str], tiny_models: TinyModels, tmp_path: Path) -> None:
    cards = [organism(tmp_path / kind, tiny_models, kind) for kind in ("behavior", "null")]
    found = nulls.run(False, tmp_path / "work", cards)
    table: dict[str, Any] = {figure.name: figure for figure in found.figures}
    assert table["findings: the base against itself"].ok is True
    assert table["KL: turned basis"].ok is True
    assert table["warning 'basis differs': turned basis"].ok is True
    assert table["findings: permuted neurons"].ok is True
    assert table["shams with a confirmed group: behavior"].unit == "of 2"
    assert table["shams with a confirmed group, all pairs"].unit == "of 2"
    assert table["label permutations with a confirmed group, the shams' floors"].unit == "of 3"
    assert table["label permutations with a confirmed group, the smallest floors"].unit == "of 3"
    assert table["findings: int8 copy"].ok is table["findings: nf4 copy"].ok is None
    assert commands.count("run") == 7  # labels are dealt in the run with the shams


def test_edits_of_both_kinds(commands: list[str], tmp_path: Path) -> None:
    found = edits.run(False, tmp_path / "out-work" / "edits")
    judged = found.raw["edits"]
    assert [(one["kind"], one["size"]) for one in judged] == [("new", 2.0), ("new", -2.0), ("active", 2.0)]
    assert (tmp_path / found.raw["curve"]).exists()
    assert commands.count("run") == 3
    for one in judged:
        assert 0 <= one["cosine"] <= 1
        assert one["earliest"] in (None, 0, 1)
        assert all(count >= 0 for count in one["shams"])
    json.dumps(found.raw)
