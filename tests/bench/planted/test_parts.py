"""Whole parts of the planted measurements on tiny models: runs, tables and resumption, whatever is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.planted import causes, edits, nulls, organisms, runs
from tests.helpers.command import fi_store

if TYPE_CHECKING:
    from tests.helpers.tiny import TinyModels

OPTIONS = {
    "limit_per_category": 10, "categories": ["formal_logic", "general_control"], "max_new_tokens": 8,
    "layers": "1", "n_latents": 32, "k": 4, "dictionary_steps": 10, "candidates": 4, "quantization": "fp32",
    "skip_report": True,
}  # fmt: skip
SETTINGS = {
    "organisms": {"options": OPTIONS, "mirrored": ["one"], "random_features": 2},
    "nulls": {"options": {**OPTIONS, "attribution": "off"}, "halves": 2, "coins": 3},
    "edits": {
        "options": OPTIONS, "categories": OPTIONS["categories"], "layer": 0, "layers": [0, 1], "sizes": [2.0],
        "seeds": [0], "active": 1,
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
    assert commands.count("run") == 2  # forward and mirrored
    names = [figure.name for figure in found.figures]
    assert names[:2] == ["first finding hits: one", "first finding hits: one, mirrored"]
    assert "hit at 3 by other cards" not in names  # there is no other card
    assert "baseline: activation difference lens" in names
    for one in found.raw["runs"]:
        assert [each["position_class"] for each in one["baselines"]["shifts"]] == ["start", "response"]
        assert all(len(each["promoted_tokens"]) == 10 for each in one["baselines"]["features"])
    shifts = [one["baselines"]["shifts"][0] for one in found.raw["runs"]]
    assert shifts[0]["promoted_tokens"] == shifts[1]["suppressed_tokens"]
    again = organisms.run(False, tmp_path / "work", cards)
    assert commands.count("run") == 2
    assert again.raw == found.raw
    json.dumps(found.raw)


def test_nulls_of_every_kind(commands: list[str], tiny_models: TinyModels, tmp_path: Path) -> None:
    cards = [organism(tmp_path / kind, tiny_models, kind) for kind in ("behavior", "null")]
    found = nulls.run(False, tmp_path / "work", cards)
    table: dict[str, Any] = {figure.name: figure for figure in found.figures}
    for name in ("the base against itself", "permuted neurons", "turned basis"):
        assert table[f"findings, all prompts: {name}"].ok is True
    assert table["runs with a confirmed behavior"].unit == "of 8"
    assert table["deals by a coin with a confirmed behavior"].unit == "of 3"
    assert 0 <= table["control draws that are findings"].value <= 1
    assert all(each["draws"] == 999 for each in found.raw["controls"])
    assert commands.count("run") == 4 + 1  # the pair with a difference is read as in `organisms`
    json.dumps(found.raw)


def test_edits_of_both_kinds(commands: list[str], tmp_path: Path) -> None:
    found = edits.run(False, tmp_path / "work")
    judged = found.raw["edits"]
    assert [(one["kind"], one["size"]) for one in judged] == [("new", 2.0), ("active", 2.0)]
    assert commands.count("run") == 2
    for one in judged:
        assert (one["first"] is None) == (one["findings"] == 0)
    json.dumps(found.raw)
    # An edit this large is tested by patches, so its run has what `causes` reads.
    assert judged[0]["first"]["cosine"] > edits.COSINE
    made = runs.Runs(tmp_path / "work")
    predicted = causes.predictions(made, judged[0]["run_id"])
    assert len(predicted["changes"]) >= 2  # both sides
    (whole,) = predicted["whole"]
    assert whole["layer"] == 1
    assert np.isfinite([whole["attributed"], whole["share"]]).all()
    with made.open() as store:
        controls = causes.control_findings(store, judged[0]["run_id"])
    assert len(controls) == len(predicted["changes"])
    assert all(each["draws"] == 999 and 0 <= each["findings"] <= 50 for each in controls)
