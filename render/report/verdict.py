"""Writes the report's first lines: the verdict in a sentence or two, and the key figures with what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fi_store.store.tables import AnalysisPlan, PairGate
from fi_store.vocabulary import CHANGE_CLASSES, NO_DIFFERENCE, POSITION_CLASSES, UNTESTED, VERDICTS
from render import words

Row = dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """A key figure: its name, its value, an interval or second line, and what it means in plain words."""

    name: str
    value: str
    detail: str
    meaning: str


def verdict(
    gate: PairGate,
    plan: AnalysisPlan | None,
    behaviors: Sequence[Row],
    findings: Sequence[Row],
    n_shifts: int,
) -> tuple[str, str]:
    """The headline and a few sentences below it: the answers first, then what was found inside."""
    if not behaviors:
        return _inside(gate, plan, findings, n_shifts)
    first, *others = (row["sentence"] for row in behaviors)
    more = f"{others[0]} " if others else ""
    if len(others) > 1:
        more += f"{words.count(len(others) - 1, 'more difference')} between the answers below. "
    if gate.verdict == NO_DIFFERENCE and not findings:
        return first, f"{more}On average over all positions the models' predictions hardly differ."
    headline, inside = _inside(gate, plan, findings, n_shifts)
    return first, f"{more}Inside the models: {headline} {inside}"


def _inside(
    gate: PairGate, plan: AnalysisPlan | None, findings: Sequence[Row], n_shifts: int
) -> tuple[str, str]:
    """The verdict on the inside of the models."""
    agreement = words.percent(gate.agreement)
    if gate.verdict == NO_DIFFERENCE and not findings:
        body = (
            f"On {words.count(gate.n_units, 'held-out prompt')} both models predict practically the same words "
            f"(the most likely next word is the same at {agreement} of all positions)."
        )
        if n_shifts:
            body += (
                f" Something moved inside the models ({words.count(n_shifts, 'shift')}, listed below), but it does not "
                "show in the answers."
            )
        return VERDICTS[NO_DIFFERENCE], body
    if not findings:
        detectable = (
            f" A run of this size detects effects of about {words.decimal(plan.smallest_detectable)} standard "
            "deviations above the floor over all prompts; more prompts would detect smaller ones."
            if plan is not None
            else ""
        )
        return (
            "The models answer differently, but no single change could be pinned down.",
            f"Their most likely next words agree at {agreement} of all positions, yet no group of features passed "
            f"the tests on the held-out prompts.{detectable}",
        )
    one = len(findings) == 1
    head = (
        f"{words.count(len(findings), 'change')} {'holds' if one else 'hold'} on prompts that were not used to find "
        f"{'it' if one else 'them'}."
    )
    return head, f"Strongest: {findings[0]['name']} ({CHANGE_CLASSES[findings[0]['change']]})."


def _on_shams(shams: Sequence[Row]) -> str:
    """What the same search found on the shams, if there were enough of them to search."""
    counts = [str(sham["n_confirmed"]) for sham in shams if sham["n_confirmed"] is not None]
    return f"; the same search on shams found {', '.join(counts)}" if counts else ""


def _floor_source(shams: Sequence[Row]) -> str:
    return (
        f"from {words.count(len(shams), 'sham target')}"
        if shams
        else "no sham target: the configured minimum"
    )


def key_facts(
    gate: PairGate,
    plan: AnalysisPlan | None,
    findings: Sequence[Row],
    floors: Sequence[Row],
    dictionaries: Sequence[Row],
    shams: Sequence[Row],
) -> tuple[Fact, ...]:
    facts = [
        Fact(
            "Changes found",
            str(len(findings)),
            _tiers(findings) + _on_shams(shams),
            "Results that hold on prompts held out until everything else was fixed.",
        ),
        Fact(
            "Gap between the models",
            f"{words.amount(gate.gap)} nats",
            f"per answer token, 95% {words.amounts(gate.gap_low, gate.gap_high)}",
            "How much likelier each model finds its own answer than the other model does.",
        ),
        Fact(
            "Difference in predictions",
            f"{words.amount(gate.kl_symmetric)} nats",
            f"symmetric KL per token, 95% {words.amounts(gate.kl_low, gate.kl_high)}",
            "How far apart the two models' next-word probabilities are on the same text.",
        ),
        Fact(
            "Same next word",
            words.percent(gate.agreement),
            "of the positions in the answers",
            "How often both models' most likely next word is the same.",
        ),
    ]
    if plan is not None:
        searched, held_out = plan.plan.get("clusters_d"), plan.plan.get("clusters_c", gate.n_units)
        facts.append(
            Fact(
                "Prompts",
                f"{searched} + {held_out}" if searched is not None else str(gate.n_units),
                "to search + held out to confirm",
                "Prompts of one family count as one; both halves cover every category.",
            )
        )
        facts.append(
            Fact(
                "Smallest detectable effect",
                words.decimal(plan.smallest_detectable),
                "standard deviations above the floor",
                "An effect of this size over all prompts is found four times in five, a weaker one less often.",
            )
        )
    if floors:
        values = [row[name] for row in floors for name in POSITION_CLASSES]
        facts.append(
            Fact(
                "Floor",
                f"{words.amount(min(values))} to {words.amount(max(values))}",
                _floor_source(shams),
                "An estimate of the limit that nine out of ten scrambled changes of the same size stay below at one "
                "layer and position class; an effect over all prompts must exceed it."
                if shams
                else "An effect over all prompts must exceed it.",
            )
        )
    shares = [row["dark_matter"] for row in dictionaries if row["dark_matter"] is not None]
    if shares:
        facts.append(
            Fact(
                "Dark matter",
                f"{words.percent(min(shares))} to {words.percent(max(shares))}",
                "of the models' difference, by layer",
                "What the dictionaries cannot reconstruct; a change in it stays unseen."
                + (" Above 100%: the reconstruction is worse than none." if max(shares) > 1 else "")
                + _mean_shift(dictionaries),
            )
        )
    return tuple(facts)


def _mean_shift(dictionaries: Sequence[Row]) -> str:
    """How much more of the difference the dictionaries reconstruct than the mean shift, a single direction."""
    gains = [row["beyond_mean_shift"] for row in dictionaries if row["beyond_mean_shift"] is not None]
    if not gains:
        return ""
    low, high = (f"{100 * value:+.0f}" for value in (min(gains), max(gains)))
    return f" Gained over the mean shift alone: {low} to {high} percentage points."


def _tiers(findings: Sequence[Row]) -> str:
    if not findings:
        return "on the held-out prompts"
    untested = sum(row["causal_status"] == UNTESTED for row in findings)
    if untested == len(findings):
        return f"confirmed, {UNTESTED}"
    proven = sum(row["tier"] == "finding" for row in findings)
    return f"{proven} shown to matter, {len(findings) - proven} observed"
