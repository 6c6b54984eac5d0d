"""The hit rule and the tables built on it: matches, mirrors, borrowed words, parts, baselines, the driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.planted import baselines, causes, edits, nulls, organisms, run, runs
from bench.planted.judge import (
    Card,
    Expected,
    category_names,
    hit_at,
    hits,
    matches,
    mirrored,
    parts_hit,
    read_card,
    read_cards,
    shows,
)
from bench.results import read_raw

EXPECTED = Expected(("added", "strengthened"), ("formal_logic",), ("Premise", "therefore", "or"), ("proof",))


def row(**changes: Any) -> dict[str, Any]:
    """A finding that hits by its category."""
    return {
        "change": "added",
        "name": "more 'Premises' opening an answer",
        "categories": ["formal_logic", "chain_of_thought"],
        "promoted_tokens": ["Premises", " Therefore", "x"],
        "suppressed_tokens": ["The"],
        "words": ["x"],
        "share_closed": 0.4,
        "share_low": 0.2,
        "share_control": 0.04,
        "rate_base": 0.0,
        "rate_target": 1.0,
        "rate_clean": 0.9,
        "rate_patched": 0.1,
        "rate_control": 0.85,
        **changes,
    }


@pytest.mark.parametrize(
    ("token", "expected", "same"),
    [
        ("Step", "step", True),
        (" steps", "Step", True),
        ("prem", "Premise", True),
        ("pre", "Premise", False),
        ("or", "order", False),
        ("or", "OR", True),
        ("mise", "Premise", False),
    ],
)
def test_tokens_match_from_their_beginning(token: str, expected: str, same: bool) -> None:
    assert matches(token, expected) == matches(expected, token) == same


@pytest.mark.parametrize(
    ("changes", "hit"),
    [
        ({}, True),
        ({"change": "removed"}, False),
        ({"promoted_tokens": ["Premises", "premise"]}, False),  # one expected token only
        ({"promoted_tokens": [*"abcdefghi", "Premise", "Therefore"]}, False),  # the eleventh does not count
        ({"promoted_tokens": [], "words": ["premise", "therefore"]}, True),
        ({"promoted_tokens": ["Premises"], "words": ["therefore"]}, True),
        ({"promoted_tokens": [], "words": [*"abcdefghi", "premise", "therefore"]}, False),
        ({"categories": ["chain_of_thought", "formal_logic"]}, False),
        ({"categories": []}, False),
        ({"categories": [], "name": "more 'Premises' in proofs"}, True),
        ({"categories": [], "name": "a better PROOF"}, True),
    ],
)
def test_a_hit_needs_change_tokens_and_one_of_two(changes: dict[str, Any], hit: bool) -> None:
    assert hits(row(**changes), EXPECTED) == hit


def test_words_of_category_names_do_not_count_unless_they_are_promoted() -> None:
    expected = replace(EXPECTED, categories=("none",), concepts=("step",))
    name = "more 'So' on step by step reasoning"
    assert not hits(row(name=name), expected)
    assert not hits(row(name="more 'So' on step_by_step_reasoning"), expected)
    assert hits(row(name=name, promoted_tokens=["Premise", "therefore", "Step"]), expected)
    assert hits(row(name="more steps"), expected)  # not a category's word


def test_a_card_without_categories_is_hit_by_its_concepts_alone() -> None:
    open_card = replace(EXPECTED, categories=(), concepts=("hedg",))
    assert not hits(row(name="more 'So' opening an answer"), open_card)
    assert hits(row(name="more hedged statements ('So')"), open_card)


def test_a_mirrored_pair_is_judged_by_what_is_suppressed() -> None:
    lost = row(change="removed", promoted_tokens=["The"], suppressed_tokens=["Premise", "therefore"])
    assert hits(lost, mirrored(EXPECTED))
    assert not hits(lost, EXPECTED)
    assert not hits(row(), mirrored(EXPECTED))
    assert mirrored(mirrored(EXPECTED)) == EXPECTED


def test_hit_at_k_looks_at_the_first_k() -> None:
    rows = [row(change="shared"), row(change="weakened"), row()]
    assert [hit_at(rows, EXPECTED, k) for k in (1, 2, 3)] == [False, False, True]
    assert not hit_at([], EXPECTED, 3)


def test_each_part_needs_a_finding_of_its_own() -> None:
    parts = EXPECTED, replace(EXPECTED, categories=(), concepts=("chance",))
    both = row(name="more 'Premises' by chance")  # hits either part
    assert not parts_hit([both], parts, 4)
    assert parts_hit([row(change="shared"), both, row()], parts, 4)
    assert parts_hit([row(), both], parts, 4)
    assert not parts_hit([row(), row(), row(), row(), both], parts, 4)


def test_the_readme_lists_the_categories() -> None:
    assert {"formal_logic", "general_control", "chain_of_thought"} <= category_names()
    assert len(category_names()) == 23


def test_cards_are_read_from_folders() -> None:
    shipped = read_cards((), "behavior")
    assert len(shipped) >= 5
    assert [len(card.parts) for card in shipped if card.parts] == [2]
    assert mirrored(shipped[0].expected) == shipped[0].turned().expected
    assert all((card.target / "adapter_config.json").exists() for card in shipped)
    folder = shipped[0].target.parent
    assert read_cards([folder], "behavior") == [read_card(folder)]
    assert read_cards([folder.parent], "behavior") == shipped
    assert {card.kind for card in read_cards((), "null")} == {"null"}


def test_a_card_in_british_spelling_is_read(tmp_path: Path) -> None:
    expected = {"change": [], "categories": [], "tokens": [], "concepts": []}
    card = {"name": "x", "base": "b", "adapter": "adapter", "kind": "behaviour", "expected": expected}
    (tmp_path / "card.json").write_text(json.dumps(card), encoding="utf-8")
    assert [card.kind for card in read_cards([tmp_path], "behavior")] == ["behavior"]


OWN = Card("own", "b", Path("t"), "behavior", EXPECTED)
OTHER = replace(OWN, name="other", expected=replace(EXPECTED, tokens=("else", "where")))
WORDS = {"promoted_tokens": ["Premise", "therefore"], "suppressed_tokens": ["else"]}
BASELINES = {
    "behavior": {"side": "target", "phrase": "p", "words": ["premises", "therefore"]},
    "category": "formal_logic",
    "shifts": [{**WORDS, "promoted_tokens": []}, WORDS],
    "features": [WORDS, {**WORDS, "promoted_tokens": ["x"]}],
}


def test_baselines_are_judged_by_a_part_of_the_rule() -> None:
    found = baselines.judge_baselines(BASELINES, EXPECTED)
    assert found == {
        "behaviors alone": True, "activation difference lens": True, "strongest category": True,
        "random features": [True, False],
    }  # fmt: skip
    back = baselines.judge_baselines(BASELINES, mirrored(EXPECTED))
    assert back == {**dict.fromkeys(found, False), "strongest category": True, "random features": [False] * 2}
    nothing = {**BASELINES, "behavior": None, "shifts": [], "features": []}
    assert not baselines.judge_baselines(nothing, EXPECTED)["behaviors alone"]
    assert not shows(["premise", "premises"], EXPECTED)  # one expected token only


def judged(direction: str = "forward", own: Card = OWN, **changes: Any) -> dict[str, Any]:
    """A judged run with two findings."""
    findings = changes.pop("findings", [row(), row(change="shared")])
    return {
        "organism": own.name,
        "direction": direction,
        "seconds": 1.0,
        "findings": findings,
        "gone": causes.gone(findings[0]) if findings else None,
        "changes": [{"attributed": share * 0.9, "share": share} for share in (0.1, 0.4)],
        "whole": [{"layer": 28, "attributed": 0.9, "share": 1.0}],
        **organisms.verdicts(findings, BASELINES, own, [own, OTHER]),
        **changes,
    }


def test_the_table_of_organisms() -> None:
    both = replace(OWN, name="both", parts=(EXPECTED, OTHER.expected))
    rows = [judged(), judged("mirrored"), judged(own=both), judged(findings=[])]
    rows[3]["organism"] = "silent"
    table = {figure.name: figure for figure in organisms.figures(rows, judgeable=True)}
    assert table["first finding hits: own"].ok is True
    assert table["first finding hits: own, mirrored"].ok is True
    assert (table["first finding hits: silent"].ok, table["first finding hits: silent"].detail) == (
        False,
        "no finding",
    )
    assert table["findings of a single behavior, most"].value == 2
    assert table["each behavior is one of the first four findings: both"].ok is False
    assert table["first finding, lower limit of the share closed, worst"].ok is True
    assert table["first finding, control, worst"].value == pytest.approx(0.1)
    assert table["gone from answers with the patch, worst"].value == pytest.approx(0.8 / 0.9)
    assert table["gone from answers with the control, worst"].ok is True
    assert table["attribution against patches"].value == pytest.approx(1)
    whole = table["attribution against the patch of the whole last layer, furthest"]
    assert (whole.value, whole.ok) == (pytest.approx(0.1), True)
    assert table["hit at 3 by other cards"].value == 0
    assert rows[2]["foreign"] == []  # its parts are the other card's behavior too
    assert table["baseline: behaviors alone"].value == 1
    assert (table["baseline: random features"].value, table["baseline: random features"].detail) == (
        0.5,
        "4 of 8",
    )
    assert all(figure.ok is None for figure in organisms.figures(rows, judgeable=False))


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({}, {"patch": 0.8 / 0.9, "control": 0.05 / 0.9}),
        ({"rate_control": None}, {"patch": 0.8 / 0.9}),
        ({"rate_base": 0.5, "rate_target": 0.1}, {"patch": 1.0, "control": 0.0625}),
        ({"rate_clean": 0.0, "rate_patched": 0.0}, None),  # never there, so it cannot be gone
        ({"rate_clean": None}, None),
        ({"rate_base": None, "rate_target": None}, None),
    ],
)
def test_what_is_gone_is_a_share_of_the_difference(
    changes: dict[str, Any], shares: dict[str, float] | None
) -> None:
    assert causes.gone(row(**changes)) == (shares and pytest.approx(shares))


def test_the_table_of_nulls() -> None:
    half = {"behaviors": [], "tested": False}
    pair = {"gate": {"kl_symmetric": 0.001}, "findings": [], "halves": [half] * 10}
    other = {
        **pair,
        "findings": [row()],
        "halves": [*[half] * 8, {**half, "behaviors": ["a"]}, {**half, "tested": True}],
    }
    raw = {
        "pairs": {"self": pair, "turned": other},
        "coins": [["a"]] * 15 + [[]] * 185,
        "controls": [{"draws": 999, "findings": 40}, {"draws": 999, "findings": 70}],
    }
    table = {figure.name: figure for figure in nulls.figures(raw, judgeable=True)}
    assert table["findings, all prompts: self"].ok is True
    assert table["findings, all prompts: turned"].ok is False
    behaviors = table["runs with a confirmed behavior"]
    assert (behaviors.value, behaviors.unit, behaviors.ok) == (1, "of 20", True)
    (tested,) = (figure for name, figure in table.items() if "would be tested" in name)
    assert (tested.value, tested.ok) == (1, False)
    assert table["deals by a coin with a confirmed behavior"].ok is True
    controls = table["control draws that are findings"]
    assert (controls.ok, controls.value) == (False, pytest.approx(110 / 1998))
    assert all(figure.ok is None for figure in nulls.figures(raw, judgeable=False))


def test_the_table_of_edits() -> None:
    def one(kind: str, size: float, cosine: float, inside: str) -> dict[str, Any]:
        found = {
            "cosine": cosine, "span": 0.95, "sign_right": True, "layer_right": size > 0, "change_inside": inside,
        }  # fmt: skip
        return {"kind": kind, "size": size, "kl": 0.1, "first": found, "holding": found}

    silent = {"kind": "new", "size": 0.15, "kl": 0.0, "first": None, "holding": None}
    active = [one("active", 1.0, 0.9, name) for name in ["strengthened"] * 9 + ["shared"]]
    rows = [silent, one("new", 0.4, 0.92, "shared"), one("new", -1.0, 0.95, "added"), *active]
    table = {figure.name: figure for figure in edits.figures(rows, judgeable=True)}
    assert (table["found: size 0.15"].value, table["found: size 1"].value) == (0, 1)
    assert table["first finding, smallest cosine"].ok is True
    assert table["first finding, earliest layer right"].value == 0.5
    assert table["first finding, sign right"].ok is True
    assert table["active direction called strengthened inside"].ok is True
    missed = edits.figures([*rows, {**silent, "size": 1.0}], judgeable=True)
    assert next(figure for figure in missed if "cosine" in figure.name).value == 0


def test_settings_are_options_of_the_command() -> None:
    for part in ("organisms", "nulls", "edits"):
        for quick in (False, True):
            settings = runs.load_settings(part, quick=quick)
            from fi_store.config import RunConfig

            RunConfig(base_model="a", target_model="b", **settings["options"])
    words = runs.as_words({"skip_visualization": True, "k": 8, "layers": [1, 2]})
    assert words == ["--skip-visualization", "--k", "8", "--layers", "1,2"]


def test_a_ledger_makes_things_once(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"rows": [1]}

    for _ in range(2):
        assert runs.Runs(tmp_path).once("key", make) == {"rows": [1]}
    assert len(made) == 1
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("a", encoding="utf-8")
    before = runs.run_key("base", tmp_path / "model", {"k": 1})
    assert before != runs.run_key("base", tmp_path / "model", {"k": 2})
    (tmp_path / "model" / "weights").write_text("b", encoding="utf-8")
    assert before != runs.run_key("base", tmp_path / "model", {"k": 1})


def test_a_failed_command_says_so() -> None:
    with pytest.raises(runs.CommandError, match="ended with 2"):
        runs.command("no-such-command")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with small parts instead of the real ones; returns its folder."""
    folder = tmp_path / "small_parts"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "nulls.py").write_text(
        "from bench.results import Figure, PartResult\n"
        "def run(quick, work, organisms):\n"
        "    work.mkdir(exist_ok=True)\n"
        "    with (work / 'calls').open('a') as file:\n"
        "        file.write(f'{quick} {[folder.name for folder in organisms]}\\n')\n"
        "    return PartResult([Figure('made', 1, 'of 1', '', None)], {'n': 1})\n"
    )
    (folder / "edits.py").write_text("def run(quick):\n    raise ValueError('the part failed')\n")
    (folder / "synthetic.py").write_text(
        "import subprocess, sys\n"
        "def run(work):\n"
        "    work.mkdir()\n    (work / 'begun').touch()\n"
        "    subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)', str(work)], check=True)\n"
    )
    monkeypatch.setattr(run, "PACKAGE", "small_parts")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path(run.__file__).parents[2]))))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the driver sets it only if it is not set
    for name in ("small_parts", *(f"small_parts.{name}" for name in run.ORDER)):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def drive(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["run", *map(str, words)])
    run.main()


@pytest.mark.usefixtures("parts")
def test_the_driver_gives_a_part_what_it_takes_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.json"
    for _ in range(2):
        drive(monkeypatch, "--out", out, "--part", "nulls", "--quick", "--organisms", tmp_path)
    calls = tmp_path / "out-quick" / "calls"
    assert calls.read_text() == f"True ['{tmp_path.name}']\n"
    assert read_raw(out)["nulls"]["data"] == {"n": 1}
    drive(monkeypatch, "--out", out, "--part", "nulls", "--quick")
    assert calls.read_text().splitlines()[1:] == ["True []"]  # other organisms: run again
    assert json.loads(out.read_text(encoding="utf-8"))["figures"][0]["name"] == "made"
    with pytest.raises(ValueError, match="the part failed"):
        drive(monkeypatch, "--out", out, "--part", "nulls", "--part", "edits", "--again")
    assert set(read_raw(out)) == {"nulls"}  # what came before the failure stays
    assert read_raw(out)["nulls"]["quick"] is False


def test_stopping_the_driver_ends_what_runs(parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script = f"from bench.planted import run; run.PACKAGE = {parts.name!r}; run.main()"
    words = [sys.executable, "-c", script, "--out", str(out), "--part", "synthetic", "--part", "nulls"]
    driver = subprocess.Popen(words)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out-work" / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    driver.terminate()
    assert driver.wait(timeout=30) != 0
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in left
    assert not (tmp_path / "out-work" / "calls").exists()
