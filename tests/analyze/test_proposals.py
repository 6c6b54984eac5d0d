"""What a model is asked about a finding, and what becomes of its proposals: chosen on D, tested on C, stored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analyze.behaviors import answers_of
from analyze.findings import Finding
from analyze.pipeline import _describe
from analyze.proposals import propose_names, request_of
from analyze.write.findings import finding_row, name_rows
from fi_store.errors import NamingError, SilentModelError
from fi_store.naming import NameRequest, Proposal, Propose
from fi_store.progress import Progress
from fi_store.store import Store
from tests.analyze.test_findings import Told, case
from tests.extract.naming.endpoint import GOOD, reply, serving
from tests.helpers.small_runs import analyzed, ingested, small_config
from tests.helpers.tiny import TinyModels

__all__ = ["case"]  # the fixture


def found(case: Told) -> Finding:
    """The finding with the planted behavior, told by the target's side."""
    (finding,) = case.findings
    tested = replace(finding.tested, finding_side="target")
    return replace(finding, tested=tested, behavior=case.describer.behaviors[0])


def named(case: Told, propose: Propose, n: int = 1) -> tuple[list[Finding], list[str]]:
    """What n findings become, and the warnings."""
    warnings: list[str] = []
    describer = replace(
        case.describer, config=case.describer.config.model_copy(update={"naming_model": "namer"})
    )
    answers = answers_of(case.data.extraction.units)
    return propose_names([found(case)] * n, describer, answers, propose, warnings.append), warnings


def proposing(*proposals: tuple[str, list[str]]) -> Propose:
    return lambda _: [Proposal(phrase=phrase, words=words) for phrase, words in proposals]


def test_the_model_sees_only_d(case: Told) -> None:
    request = request_of(found(case), case.describer)
    units = case.data.extraction.units
    assert request.side == "target"
    assert request.title is not None
    assert request.promoted[0] == "Plan"
    assert request.suppressed == ("the",)
    assert 1 <= len(request.windows) <= 6
    assert len(request.answers) == 3
    own = {side: np.asarray(units.answers[side]) for side in ("base", "target")}
    for pair in request.answers:
        same = (own["base"] == pair.base) & (own["target"] == pair.target)
        assert units.discovery[same].all()
        assert same.any()
    texts = [text for side in own for text in own[side][units.discovery]]
    for window in request.windows:
        assert any(window.split("«")[1].replace("»", "") in text for text in texts)


def test_a_better_proposal_becomes_the_name(case: Told) -> None:
    (finding,), warnings = named(
        case, proposing(("Says the color", ["red", "blue"]), ("Makes a plan", ["plan", "planning"]))
    )
    assert warnings == []
    assert finding.claim.name == "Makes a plan"
    chosen, other = finding.proposed
    assert chosen.named
    assert chosen.test is not None
    assert chosen.test.on_c.rates["target"] > chosen.test.on_c.rates["base"]
    assert (other.chosen, other.test) == (False, None)
    row = finding_row("run", 1, finding, 1, case.data.extraction.units.clusters[case.outcome.units])
    assert row["name"] == "Makes a plan"
    assert "(name proposed by namer)" in row["description"]
    rows: list[dict[str, Any]] = [row for row in name_rows("run", finding) if row["method"] == "proposed"]
    assert [(row["phrase"], row["chosen"], row["named"]) for row in rows] == [
        ("Makes a plan", True, True),
        ("Says the color", False, False),
    ]
    assert json.loads(rows[0]["predicate"])["value"] == ["plan", "planning"]
    assert rows[0]["auc_d"] == pytest.approx(chosen.on_d.auc)
    assert json.loads(rows[0]["scores"])["p_adjusted"] == chosen.test.p_adjusted
    numbers = [row["number"] for row in name_rows("run", finding)]
    assert numbers == list(range(len(numbers)))


def test_a_worse_proposal_is_kept_and_the_name_stays(case: Told) -> None:
    before = found(case).claim.name
    (finding,), _ = named(case, proposing(("Says the color", ["red", "blue"])))
    assert finding.claim.name == before
    assert [row["chosen"] for row in name_rows("run", finding) if row["method"] == "proposed"] == [False]


def test_a_name_that_c_does_not_confirm_is_not_said(case: Told) -> None:
    units = case.data.extraction.units
    silent = {
        side: [text if d else "" for text, d in zip(units.answers[side], units.discovery, strict=True)]
        for side in ("base", "target")
    }
    describer = replace(
        case.describer, config=case.describer.config.model_copy(update={"naming_model": "namer"})
    )
    (finding,) = propose_names(
        [found(case)],
        describer,
        answers_of(replace(units, answers=silent)),
        proposing(("Makes a plan", ["plan", "planning"])),
        lambda _: None,
    )
    assert finding.proposed[0].chosen
    assert not finding.proposed[0].named
    assert finding.claim.name == found(case).claim.name


def test_a_reply_that_cannot_be_used_is_a_warning(case: Told) -> None:
    calls: list[NameRequest] = []

    def useless(request: NameRequest) -> list[Proposal]:
        calls.append(request)
        raise NamingError("namer proposed no usable name: it is not JSON.")

    findings, warnings = named(case, useless, 2)
    assert [finding.proposed for finding in findings] == [(), ()]
    assert len(calls) == len(warnings) == 2
    assert warnings[0].endswith(f"Finding '{found(case).claim.name}' keeps its own name.")


def test_a_model_that_cannot_be_asked_is_asked_once(case: Told) -> None:
    calls: list[NameRequest] = []

    def silent(request: NameRequest) -> list[Proposal]:
        calls.append(request)
        raise SilentModelError("The endpoint cannot be asked for names: status 500.")

    findings, warnings = named(case, silent, 2)
    assert [finding.proposed for finding in findings] == [(), ()]
    assert len(calls) == len(warnings) == 1
    assert warnings[0].endswith("The findings keep their own names.")


def test_the_analysis_records_that_it_could_not_ask(case: Told, tmp_path: Path) -> None:
    def silent(_: NameRequest) -> list[Proposal]:
        raise SilentModelError("The endpoint cannot be asked for names: status 500.")

    describer = case.describer
    test: Any = SimpleNamespace(
        config=describer.config,
        extraction=case.data.extraction,
        fitted=SimpleNamespace(residuals=describer.residuals),
        answers=answers_of(case.data.extraction.units),
        generate=lambda *_: {},
    )
    run: Any = SimpleNamespace(id="run", extraction_run_id="run")
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        (finding,) = _describe(
            store, run, test, describer.layers, case.outcome, describer.behaviors, silent, Progress()
        )
        assert finding.proposed == ()
        (event,) = store.rows("select kind, message from run_event")
    assert event["kind"] == "warning"
    assert "status 500. The findings keep their own names." in event["message"]


def test_the_workflow_hands_over_the_run_s_naming_model(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Any] = []
    monkeypatch.setattr("analyze.pipeline.analyze", lambda *_, propose, **__: handed.append(propose))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    request = NameRequest("target", None, (), (), (), ())
    store, run_id = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.planted))
    with store, serving([(200, reply(json.dumps(GOOD)))]) as served:
        analyzed(store, run_id)
        analyzed(store, run_id, naming_model="namer", naming_url=served.url)
        without, propose = handed
        assert without is None
        assert propose(request) == propose(request)
        assert len(served.bodies) == 1
        assert list((tmp_path / "naming").glob("*.json"))
