"""The hit rule and the tables built on it: matches, mirrors, borrowed words, permuted categories, the driver."""

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

from bench.planted import edits, nulls, organisms, run, runs
from bench.planted.judge import (
    SAME,
    Card,
    Expected,
    are_mirrored,
    category_names,
    hit_at,
    hits,
    matches,
    mirrored,
    permuted_hits,
    read_card,
    read_cards,
)
from bench.results import read_raw

EXPECTED = Expected(("added", "strengthened"), ("formal_logic",), ("Premise", "therefore", "or"), ("proof",))


def row(**changes: Any) -> dict[str, Any]:
    """A result that hits by its category."""
    return {
        "change": "added",
        "name": "more 'Premises' opening an answer",
        "categories": ["formal_logic", "chain_of_thought"],
        "promoted_tokens": ["Premises", " Therefore", "x"],
        "suppressed_tokens": ["The"],
        **{name: 1 for name in SAME if name != "categories"},
        "effect": 0.5, "ci_low": 0.25, "ci_high": 0.75, "log2_ratio": None, "log2_low": None, "log2_high": None,
        "rate_base": 0.0, "rate_target": 1.0,
        **changes,
    }  # fmt: skip


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


BACK = {
    "change": "removed", "promoted_tokens": ["The"], "suppressed_tokens": ["Premises", " Therefore", "x"],
    "effect": -0.5, "ci_low": -0.75, "ci_high": -0.25, "rate_base": 1.0, "rate_target": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "exact"),
    [
        ({}, True),
        ({"name": "less of it"}, True),  # names speak of a side
        ({"ci_high": -0.25 - 1e-16}, False),
        ({"change": "added"}, False),
        ({"floor": 2}, False),
        ({"promoted_tokens": []}, False),
        ({"rate_base": 0.0}, False),
        ({"log2_low": 1.0}, False),
    ],
)
def test_exchanged_runs_are_compared_to_the_last_bit(changes: dict[str, Any], exact: bool) -> None:
    assert are_mirrored([row()], [row(**{**BACK, **changes})]) == exact
    assert not are_mirrored([row()], [])
    assert are_mirrored([], [])


def test_hit_at_k_looks_at_the_first_k() -> None:
    rows = [row(change="shared"), row(change="weakened"), row()]
    assert [hit_at(rows, EXPECTED, k) for k in (1, 2, 3)] == [False, False, True]
    assert not hit_at([], EXPECTED, 3)


def test_shuffled_category_names_leave_only_hits_by_the_name() -> None:
    by_category = permuted_hits([row()], EXPECTED, 1, draws=400, seed=0)
    # 1 in 23 names; 400 draws: a binomial leaves [0.01, 0.10] with odds under 1 in 1,000
    assert 0.01 <= by_category <= 0.10
    assert permuted_hits([row(name="a proof")], EXPECTED, 1, draws=20, seed=0) == 1.0
    assert permuted_hits([row()], EXPECTED, 1, draws=50, seed=1) == permuted_hits(
        [row()], EXPECTED, 1, draws=50, seed=1
    )


def test_the_readme_lists_the_categories() -> None:
    assert {"formal_logic", "general_control", "chain_of_thought"} <= category_names()
    assert len(category_names()) == 23


def test_cards_are_read_from_folders() -> None:
    shipped = read_cards((), "behavior")
    assert len(shipped) >= 3
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


def test_verdicts_of_a_run() -> None:
    own = Card("own", "b", Path("t"), "behavior", EXPECTED)
    other = Card("other", "b", Path("t"), "behavior", replace(EXPECTED, tokens=("else", "where")))
    guess = {
        "change": "", "name": "formal logic", "categories": ["formal_logic"],
        "promoted_tokens": ["Premise", "therefore"], "suppressed_tokens": [],
    }  # fmt: skip
    latents = [row(), row(change="shared")]
    baselines = {"strongest_category": guess, "random_latents": latents, "latents_in_place": latents[:1]}
    found = organisms.verdicts([row(change="shared"), row()], baselines, own, "forward", [own, other], 10, 0)
    assert (found["hit_1"], found["hit_3"], found["foreign"]) == (False, True, [False])
    assert (found["category_baseline"], found["latent_baseline"], found["place_baseline"]) == (
        True,
        [True, False],
        [True],
    )
    turned = organisms.verdicts([row()], baselines, own, "mirrored", [own, other], 10, 0)
    assert (turned["hit_3"], turned["category_baseline"], any(turned["latent_baseline"])) == (False,) * 3
    judged = [
        {
            "organism": "own",
            "direction": direction,
            "seed": seed,
            "seconds": 1.0,
            "findings": rows,
            **found,
        }
        for direction, rows in (("forward", [row()]), ("mirrored", [row(**BACK)]))
        for seed in range(3)
    ]
    table = {figure.name: figure for figure in organisms.figures(judged, judgeable=True)}
    assert table["hit at 1: own, forward"].ok is False
    assert table["hit at 3: own, forward"].ok is True
    assert table["hit at 3 by other cards"].value == 0
    exact = "exchanged runs that are mirrored to the last bit"
    assert (table[exact].ok, table[exact].detail) == (True, "3 of 3, 3 results")
    changed = [*judged[:-1], {**judged[-1], "findings": [row()]}]
    assert {figure.name: figure for figure in organisms.figures(changed, judgeable=True)}[exact].ok is False
    assert (table["baseline: a random latent"].value, table["baseline: a random latent"].detail) == (
        0.5,
        "6 of 12",
    )
    assert all(figure.ok is None for figure in organisms.figures(judged, judgeable=False))


def test_the_tables_of_nulls() -> None:
    gate = {"kl_symmetric": 0.001}
    pair = runs.Finished("r", 1.0, [], [row()], gate, ["The basis differs: ..."])
    assert [figure.ok for figure in nulls.pair_figures("turned basis", pair, judgeable=True)] == [True] * 3
    silent = replace(pair, warnings=[], findings=[row()])
    verdicts = [figure.ok for figure in nulls.pair_figures("turned basis", silent, judgeable=True)]
    assert verdicts == [False, True, False]
    shams = {
        name: [{"n_confirmed": count} for count in found]
        for name, found in (("a", (0, 2, 1)), ("b", [0] * 7))
    }
    table = [(figure.value, figure.unit, figure.ok) for figure in nulls.sham_figures(shams, judgeable=True)]
    assert table == [(2, "of 3", None), (0, "of 7", None), (2, "of 10", True)]
    assert nulls.sham_figures({"a": shams["a"]}, judgeable=True)[-1].ok is False
    assert nulls.permutation_figure("f", [(0, 0)] * 184 + [(4, 1)] * 16, judgeable=True).ok is False
    fine = nulls.permutation_figure("f", [(0, 0)] * 100 + [(4, 0)] * 85 + [(4, 3)] * 15, judgeable=True)
    assert fine.ok is True
    assert fine.detail == "100 had a group to test"


def test_an_edit_is_judged_by_a_result_in_the_prompts_if_there_is_one() -> None:
    start, prompt = {"position_class": "start"}, {"position_class": "prompt"}
    results = [(0.5, prompt), (0.91, start), (0.99, start), (0.9, prompt), (0.7, start)]
    overlaps = [edits.Overlap(cosine, 0.0, 1, row) for cosine, row in results]
    assert edits.judged_result(overlaps) is overlaps[3]
    assert edits.judged_result(overlaps[:3]) is overlaps[1]
    assert edits.judged_result([overlaps[0], overlaps[4]]) is overlaps[4]
    assert edits.judged_result([]) is None


def test_the_table_and_the_curve_of_edits(tmp_path: Path) -> None:
    def one(kind: str, size: float, cosine: float, change: str) -> dict[str, Any]:
        best = {"cosine": cosine, "change": change, "sign_right": True, "category_right": False}
        return {
            "kind": kind, "size": size, "reported": size > 0.5, "confirmed": True, "kl": 0.1, "cosine": cosine,
            "best": best, "layer_right": True, "earliest": 14, "others": [{"sign_right": size > 0.5}],
            "first": "strengthened" if kind == "active" else None, "shams": [0, 2] if kind == "active" else [],
        }  # fmt: skip

    judged = [
        one("new", 0.1, 0.2, "shared"),
        one("new", 1.0, 0.95, "added"),
        one("active", 1.0, 0.9, "shared"),
    ]
    table = {figure.name: figure for figure in edits.figures(judged, judgeable=True)}
    assert (table["reported: size 0.1"].value, table["reported: size 1"].value) == (0, 1)
    assert table["smallest cosine with u, largest size"].ok is True
    called = table["active direction called strengthened"]
    assert (called.ok, called.detail) == (False, "shared; sign right in 1 of 1 further results that hold u")
    assert table["the same by the first result that holds it anywhere"].value == 1
    assert table["shams with a confirmed group"].detail == "1 of 2, floors from the edit's other shams"
    edits.power_curve(judged).save(tmp_path / "curve.svg")
    assert "reported as a result" in (tmp_path / "curve.svg").read_text(encoding="utf-8")


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
        "import os\n"
        "from bench.results import Figure, PartResult\n"
        "def run(quick, work, organisms):\n"
        "    with (work / 'calls').open('a') as file:\n"
        "        threads = os.environ['OMP_NUM_THREADS']\n"
        "        file.write(f'{quick} {[folder.name for folder in organisms]} {threads}\\n')\n"
        "    return PartResult([Figure('made', 1, 'of 1', '', None)], {'n': 1})\n"
    )
    (folder / "edits.py").write_text("def run(quick):\n    raise ValueError('the part failed')\n")
    (folder / "synthetic.py").write_text(
        "import time\ndef run(work):\n    (work / 'begun').touch()\n    time.sleep(600)\n"
    )
    monkeypatch.setattr(run, "PACKAGE", "small_parts")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path(run.__file__).parents[2]))))
    return folder


def drive(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["run", *map(str, words)])
    run.main()


@pytest.mark.usefixtures("parts")
def test_the_driver_gives_a_part_what_it_takes_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    for _ in range(2):
        drive(monkeypatch, "--out", out, "--part", "nulls", "--quick", "--organisms", tmp_path)
    calls = tmp_path / "out-quick" / "nulls" / "calls"
    threads = max(1, (os.cpu_count() or 1) // len(run.ORDER))
    assert calls.read_text() == f"True ['{tmp_path.name}'] {threads}\n"
    assert read_raw(out)["nulls"]["data"] == {"n": 1}
    drive(monkeypatch, "--out", out, "--part", "nulls", "--quick")
    assert calls.read_text().splitlines()[1:] == [f"True [] {threads}"]  # other organisms: run again
    assert json.loads(out.read_text(encoding="utf-8"))["figures"][0]["name"] == "made"
    capfd.readouterr()
    with pytest.raises(SystemExit):
        drive(monkeypatch, "--out", out, "--part", "nulls", "--part", "edits", "--again")
    printed = capfd.readouterr()
    assert "the part failed" in printed.err
    assert "edits: failed" in printed.out
    assert "nulls: failed" not in printed.out  # the other part finished, with as many threads as alone
    assert (tmp_path / "out-work" / "nulls" / "calls").read_text() == f"False [] {threads}\n"
    assert set(read_raw(out)) == {"nulls"}
    assert read_raw(out)["nulls"]["quick"] is False


def test_stopping_the_driver_stops_its_parts_and_starts_none(parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script = f"from bench.planted import run; run.PACKAGE = {parts.name!r}; run.main()"
    for name in ("edits", "organisms"):
        (parts / f"{name}.py").write_text((parts / "synthetic.py").read_text())
    words = [sys.executable, "-c", script, "--out", str(out)]
    for name in ("edits", "organisms", "nulls"):
        words += ["--part", name]
    driver = subprocess.Popen(words)
    begun = [tmp_path / "out-work" / name / "begun" for name in ("edits", "organisms")]
    cores = os.cpu_count() or 1
    deadline = time.monotonic() + 60
    while sum(file.exists() for file in begun) < min(2, cores):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.terminate()
    assert driver.wait(timeout=30) != 0
    time.sleep(0.5)
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in left
    assert cores > 2 or not (tmp_path / "out-work" / "nulls").exists()
