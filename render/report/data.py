"""Reads what a report says from the store, once, as plain records that the HTML page and the Markdown file print.

Model-written text stays raw here; the code that prints it must make it harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fi_store.errors import RenderError
from fi_store.store import Store, run_query
from fi_store.store.tables import AnalysisPlan, PairGate, PromptSet, Run
from fi_store.summary import describe_discrimination, read_headlines, untested_sentence
from fi_store.vocabulary import NO_DIFFERENCE, VERDICTS
from render import words
from render.report.ability import Ability, read_ability
from render.report.cards import Card, read_cards
from render.report.facts import Fact, key_facts

Row = dict[str, Any]

SHOWN_PROMPTS = 3


@dataclass(frozen=True)
class ReportData:
    """Everything that a report prints."""

    run: Run
    base: str
    target: str
    headline: str
    more: tuple[str, ...]  # the sentences below the headline
    same: bool
    explained: str  # how much of the difference the findings explain; empty if that is not known
    facts: tuple[Fact, ...]
    cards: tuple[Card, ...]
    pending: int  # requests to run a model that are not answered yet
    failed: tuple[Row, ...]  # requests that could not be answered, with the reasons
    unlocated: tuple[Row, ...]  # confirmed differences between the answers that no finding carries
    behaviors: tuple[Row, ...]  # all confirmed differences
    unconfirmed: tuple[Row, ...]  # seen on D alone
    smallest_behavior: float | None  # rate that this run could have confirmed
    endings: tuple[Row, ...]  # how each model's answers end
    moved: tuple[Row, ...]  # groups that moved, with no effect shown
    version_1: tuple[Row, ...]  # results of version 1
    prompts: tuple[Row, ...]
    divergence: tuple[Row, ...]
    discrimination: str
    ability: Ability
    dictionaries: tuple[Row, ...]
    distribution: tuple[Row, ...]
    warnings: tuple[Row, ...]
    choices: tuple[Row, ...]
    timings: tuple[Row, ...]
    models: tuple[Row, ...]
    gate: PairGate
    plan: AnalysisPlan | None
    prompt_set: PromptSet | None
    outside: tuple[Row, ...]

    @property
    def title(self) -> str:
        """`What changed from A to B`."""
        if self.run.base_model_id == self.run.target_model_id:
            return f"{self.base} against itself"
        return f"What changed from {self.base} to {self.target}"

    @property
    def layers(self) -> list[int]:
        """The layers that were analyzed."""
        return sorted({row["layer"] for row in self.dictionaries})

    @property
    def obstacle(self) -> str | None:
        """Why no cause was tested, as a sentence."""
        return self.plan.plan.get("obstacle") if self.plan is not None else None


def read_report(store: Store, run: Run) -> ReportData:
    """Reads a run's results.

    Raises:
        RenderError: the run has not been analyzed yet.
    """
    with store.session() as session:
        gate = session.get(PairGate, run.id)
        plan = session.get(AnalysisPlan, run.id)
        prompt_set = session.get(PromptSet, run.prompt_set_id)
    if gate is None:
        raise RenderError(
            f"The run {run.id} has no results to report yet.", hint=store.command("analyze", run.id)
        )
    base, target = model_names(run)
    headlines = read_headlines(store, run.id)
    behaviors = _behaviors(store, run.id)
    smallest = plan.plan.get("smallest_behavior") if plan is not None else None
    headline, *more = _short_first(headlines.sentences or [VERDICTS[gate.verdict]], behaviors)
    confirmed = tuple(row for row in behaviors if row["confirmed"])
    dictionaries = _rows(store, "dictionary_quality", run.id)
    version_1 = (*headlines.version_1, *_rows(store, "internal_shifts", run.id))
    requests = _rows(store, "probe_requests", run.id)
    same = gate.verdict == NO_DIFFERENCE and not confirmed and not headlines.findings
    if same and smallest:
        more.append(
            f"A difference in fewer than {words.percent(smallest)} of the answers could not have been confirmed."
        )
    return ReportData(
        run=run,
        base=base,
        target=target,
        headline=headline,
        more=tuple(more),
        same=same,
        explained=headlines.explained,
        facts=key_facts(gate, plan, len(headlines.findings), dictionaries),
        cards=read_cards(store, run.id, headlines.findings, behaviors),
        pending=sum(row["n_requests"] for row in requests if row["state"] == "asked"),
        failed=tuple(row for row in requests if row["state"] == "failed"),
        unlocated=headlines.unlocated,
        behaviors=confirmed,
        unconfirmed=tuple(row for row in behaviors if not row["confirmed"]),
        smallest_behavior=smallest,
        endings=_rows(store, "answer_endings", run.id),
        moved=_rows(store, "moved_no_effect_shown", run.id) if not version_1 else (),
        version_1=tuple({**row, "sentence": untested_sentence(row)} for row in version_1),
        prompts=_rows(store, "prompt_discrimination", run.id, k=SHOWN_PROMPTS),
        divergence=_rows(store, "category_discrimination", run.id),
        discrimination=describe_discrimination(store, run.id),
        ability=read_ability(store, run, base, target),
        dictionaries=dictionaries,
        distribution=_rows(store, "feature_distribution", run.id),
        warnings=_rows(store, "run_warnings", run.id),
        choices=tuple(
            row
            for row in _rows(store, "run_warnings", run.id, choices=True)
            if row["kind"] != "warning" and row["message"] != headlines.explained
        ),
        timings=_rows(store, "stage_timings", run.id),
        models=_rows(store, "run_models", run.id),
        gate=gate,
        plan=plan,
        prompt_set=prompt_set,
        outside=tuple(row for row in _rows(store, "layer_similarity", run.id) if row["source"] != "fi-store"),
    )


def _short_first(sentences: list[str], behaviors: Sequence[dict[str, Any]]) -> list[str]:
    """The sentences, the first one cut after what the answers do, so that what carries it follows in small type."""
    first, *more = sentences
    opening = next((row["sentence"] for row in behaviors if first.startswith(f"{row['sentence']} ")), None)
    return [first, *more] if opening is None else [opening, first.removeprefix(opening).strip(), *more]


def _rows(store: Store, query: str, run_id: str, **parameters: Any) -> tuple[Row, ...]:
    return tuple(run_query(store, query, run=run_id, **parameters).to_pylist())


def _behaviors(store: Store, run_id: str) -> tuple[Row, ...]:
    """Differences between the answers, each with how its test ended."""
    rows = _rows(store, "behaviors", run_id)
    for row in rows:
        row["test"] = words.p_value(row["p_adjusted"]) if row["tested"] else "seen, too rare to test"
    return rows


def model_names(run: Run) -> tuple[str, str]:
    """The names of both models; their full references if the short names are the same."""
    base, target = words.model_name(run.base_reference), words.model_name(run.target_reference)
    return (base, target) if base != target else (run.base_reference, run.target_reference)
