"""Reads what a report says from the store, once, as plain records that the HTML page and the Markdown file print.

Model-written text stays raw here; the code that prints it must make it harmless.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from fi_store.errors import RenderError
from fi_store.store import Store, run_query
from fi_store.store.tables import AnalysisPlan, PairGate, PromptSet, Run
from fi_store.summary import describe_discrimination
from fi_store.vocabulary import NO_DIFFERENCE
from render import words
from render.report.ability import Ability, read_ability
from render.report.verdict import Fact, key_facts, verdict

Row = dict[str, Any]

SHOWN_PROMPTS = 3
SHOWN_EXAMPLES = 4
BEFORE, AFTER = 170, 90
"""Characters of an example shown before and after the marked token."""


@dataclass(frozen=True)
class Whisker:
    """An effect's interval beside its floor, in hundredths of the drawing's width (shared by all results)."""

    zero: float
    low: float
    high: float
    effect: float
    floor_low: float
    floor_high: float


@dataclass(frozen=True)
class Card:
    """One result with everything that supports it."""

    row: Row
    whisker: Whisker
    examples: tuple[Row, ...]
    features: tuple[Row, ...]
    contrasts: tuple[Row, ...]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report prints."""

    run: Run
    base: str
    target: str
    headline: str
    verdict: str
    same: bool
    facts: tuple[Fact, ...]
    behaviors: tuple[Row, ...]  # confirmed differences between the answers
    unconfirmed: tuple[Row, ...]  # seen on D alone
    smallest_behavior: float | None  # rate that this run could have confirmed
    cards: tuple[Card, ...]
    shifts: tuple[Row, ...]
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
    shams: tuple[Row, ...]
    floors: tuple[Row, ...]
    scoped_floors: tuple[Row, ...]  # empty if every group was tested on all prompts
    gate: PairGate
    plan: AnalysisPlan | None
    prompt_set: PromptSet | None
    outside: tuple[Row, ...]

    @property
    def unprobed(self) -> bool:
        """Whether a loss with spliced-in reconstructions was requested and is not measured yet."""
        return any(row["probe"] == "asked" for row in self.dictionaries)

    @property
    def probe_prompts(self) -> int | None:
        """Held-out prompts on which the spliced-in loss was measured; None if it was not."""
        answered = [row["probe_prompts"] for row in self.dictionaries if row["probe"] == "answered"]
        return int(answered[0]) if answered else None

    @property
    def title(self) -> str:
        """`What changed from A to B`."""
        if self.run.base_model_id == self.run.target_model_id:
            return f"{self.base} against itself"
        return f"What changed from {self.base} to {self.target}"


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
            f"The run {run.id} has no results to report yet.", hint=f"fi-store analyze {run.id}"
        )
    base, target = model_names(run)
    cards = _cards(store, run.id)
    shifts = _rows(store, "internal_shifts", run.id)
    floors = _floors(plan, "floors")
    shams = _rows(store, "sham_targets", run.id)
    findings = tuple(card.row for card in cards)
    dictionaries = _rows(store, "dictionary_quality", run.id)
    behaviors = _behaviors(store, run.id)
    confirmed = tuple(row for row in behaviors if row["confirmed"])
    same = gate.verdict == NO_DIFFERENCE and not confirmed
    headline, sentence = verdict(gate, plan, confirmed, findings, len(shifts))
    return ReportData(
        run=run,
        base=base,
        target=target,
        headline=headline,
        verdict=sentence,
        same=same,
        facts=key_facts(gate, plan, findings, floors, dictionaries, shams),
        behaviors=confirmed,
        unconfirmed=tuple(row for row in behaviors if not row["confirmed"]),
        smallest_behavior=plan.plan.get("smallest_behavior") if plan is not None else None,
        cards=cards,
        shifts=shifts,
        prompts=_rows(store, "prompt_discrimination", run.id, k=SHOWN_PROMPTS),
        divergence=_rows(store, "category_discrimination", run.id),
        discrimination=describe_discrimination(store, run.id),
        ability=read_ability(store, run, base, target),
        dictionaries=dictionaries,
        distribution=_rows(store, "feature_distribution", run.id),
        warnings=_rows(store, "run_warnings", run.id),
        choices=tuple(
            row for row in _rows(store, "run_warnings", run.id, choices=True) if row["kind"] != "warning"
        ),
        timings=_rows(store, "stage_timings", run.id),
        models=_rows(store, "run_models", run.id),
        shams=shams,
        floors=floors,
        scoped_floors=_floors(plan, "scoped_floors") if plan and any(plan.plan.get("scopes", [])) else (),
        gate=gate,
        plan=plan,
        prompt_set=prompt_set,
        outside=tuple(row for row in _rows(store, "layer_similarity", run.id) if row["source"] != "fi-store"),
    )


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


def _cards(store: Store, run_id: str) -> tuple[Card, ...]:
    findings = _rows(store, "top_findings", run_id)
    examples, features, contrasts = (
        _by_group(_rows(store, query, run_id))
        for query in ("finding_examples", "finding_features", "finding_categories")
    )
    whiskers = _whiskers(findings)
    return tuple(
        Card(
            row=row,
            whisker=whiskers[row["group_id"]],
            examples=tuple(_trimmed(example) for example in examples[row["group_id"]][:SHOWN_EXAMPLES]),
            features=tuple(features[row["group_id"]]),
            contrasts=tuple(contrasts[row["group_id"]]),
        )
        for row in findings
    )


def _by_group(rows: tuple[Row, ...]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["group_id"]].append(row)
    return groups


def _trimmed(example: Row) -> Row:
    before, after = example["before"], example["after"]
    largest = max(example["value_base"], example["value_target"], 1e-12)
    return {
        **example,
        "before": before if len(before) <= BEFORE else "…" + before[-BEFORE:],
        "after": after if len(after) <= AFTER else after[:AFTER] + "…",
        "share_base": max(0.0, example["value_base"] / largest),
        "share_target": max(0.0, example["value_target"] / largest),
    }


def _whiskers(findings: tuple[Row, ...]) -> dict[str, Whisker]:
    low = min((min(row["ci_low"], row["effect"], -row["floor"]) for row in findings), default=-1.0)
    high = max((max(row["ci_high"], row["effect"], row["floor"]) for row in findings), default=1.0)
    span = (high - low) or 1.0

    def hundredths(value: float) -> float:
        return round(2 + 96 * (value - low) / span, 2)

    return {
        row["group_id"]: Whisker(
            zero=hundredths(0.0),
            low=hundredths(row["ci_low"]),
            high=hundredths(row["ci_high"]),
            effect=hundredths(row["effect"]),
            floor_low=hundredths(-row["floor"]),
            floor_high=hundredths(row["floor"]),
        )
        for row in findings
    }


def _floors(plan: AnalysisPlan | None, name: str) -> tuple[Row, ...]:
    """Each site and layer with the floor of each position class, as frozen in the plan under `name`."""
    if plan is None:
        return ()
    layers, floors = plan.plan.get("layers", []), plan.plan.get(name, [])
    return tuple(
        {"site": site, "layer": layer, "prompt": values[0], "start": values[1], "response": values[2]}
        for (site, layer), values in zip(layers, floors, strict=True)
    )
