"""The report's first lines: the verdict in a sentence or two, and the key figures with what they mean."""

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
    """A key figure: its name, value, interval or second line, and what it means in plain words."""

    name: str
    value: str
    detail: str
    meaning: str


def verdict(
    gate: PairGate, plan: AnalysisPlan | None, findings: Sequence[Row], n_shifts: int
) -> tuple[str, str]:
    """The headline and one or two sentences under it."""
    agreement = words.percent(gate.agreement)
    if gate.verdict == NO_DIFFERENCE:
        body = (
            f"On {words.count(gate.n_units, 'held-out prompt')} both models predict practically the same words "
            f"(the most likely next word is the same in {agreement} of all places)."
        )
        if n_shifts:
            body += f" What moved inside the models ({words.count(n_shifts, 'shift')}, listed below) stays inside."
        return VERDICTS[NO_DIFFERENCE], body
    if not findings:
        detectable = (
            f" A run of this size finds effects from about {words.decimal(plan.smallest_detectable)} standard "
            "deviations above the floor over all prompts; more prompts find smaller ones."
            if plan is not None
            else ""
        )
        return (
            "The models answer differently, but no single change could be pinned down.",
            f"Their most likely next words agree in {agreement} of all places, yet no group of features passed the "
            f"tests on the prompts that were held back.{detectable}",
        )
    one = len(findings) == 1
    head = (
        f"{words.count(len(findings), 'change')} {'holds' if one else 'hold'} on prompts that were not used to find "
        f"{'it' if one else 'them'}."
    )
    return head, f"Strongest: {findings[0]['name']} ({CHANGE_CLASSES[findings[0]['change']]})."


def _on_shams(shams: Sequence[Row]) -> str:
    """What the same search found on the shams, where there were enough of them to ask."""
    counts = [str(sham["n_confirmed"]) for sham in shams if sham["n_confirmed"] is not None]
    return f"; the same search on shams: {', '.join(counts)}" if counts else ""


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
            "Results that held on prompts which were kept back until everything else was fixed.",
        ),
        Fact(
            "Gap between the models",
            f"{words.amount(gate.gap)} nats",
            f"per answer token, 95% {words.amounts(gate.gap_low, gate.gap_high)}",
            "How much more each model believes in its own answer than the other model does.",
        ),
        Fact(
            "Difference of predictions",
            f"{words.amount(gate.kl_symmetric)} nats",
            f"symmetric KL per token, 95% {words.amounts(gate.kl_low, gate.kl_high)}",
            "How far apart the two models' next-word probabilities are on the same text.",
        ),
        Fact(
            "Same next word",
            words.percent(gate.agreement),
            "of the places in the answers",
            "How often both models' most likely next word is the same.",
        ),
    ]
    if plan is not None:
        found, held = plan.plan.get("clusters_d"), plan.plan.get("clusters_c", gate.n_units)
        facts.append(
            Fact(
                "Prompts",
                f"{found} + {held}" if found is not None else str(gate.n_units),
                "to search + held back to confirm",
                "Prompts of one family count as one; both halves hold every category.",
            )
        )
        facts.append(
            Fact(
                "Smallest detectable effect",
                words.decimal(plan.smallest_detectable),
                "standard deviations above the floor",
                "Of this size over all prompts, it is found four times out of five; weaker ones are missed more often.",
            )
        )
    if floors:
        values = [row[name] for row in floors for name in POSITION_CLASSES]
        facts.append(
            Fact(
                "Floor",
                f"{words.amount(min(values))} to {words.amount(max(values))}",
                _floor_source(shams),
                "An estimate of what nine of ten scrambled changes of the same size stay under, at one layer and "
                "place; an effect over all prompts must exceed it."
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
                "What the dictionaries cannot rebuild; whatever happens in there stays unseen."
                + (" Above 100%: rebuilt worse than not at all." if max(shares) > 1 else "")
                + _mean_shift(dictionaries),
            )
        )
    return tuple(facts)


def _mean_shift(dictionaries: Sequence[Row]) -> str:
    """How much more of the difference the dictionaries rebuild than the mean shift, which is one direction."""
    gains = [row["beyond_mean_shift"] for row in dictionaries if row["beyond_mean_shift"] is not None]
    if not gains:
        return ""
    low, high = (f"{100 * value:+.0f}" for value in (min(gains), max(gains)))
    return f" Against the mean shift alone they rebuild {low} to {high} percentage points of it."


def _tiers(findings: Sequence[Row]) -> str:
    if not findings:
        return "on the held-back prompts"
    untested = sum(row["causal_status"] == UNTESTED for row in findings)
    if untested == len(findings):
        return f"confirmed, {UNTESTED}"
    proven = sum(row["tier"] == "finding" for row in findings)
    return f"{proven} shown to matter, {len(findings) - proven} observed"
