"""The report's key figures, each with what it means in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fi_store.store.tables import AnalysisPlan, PairGate
from fi_store.vocabulary import TESTED
from render import words

Row = dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """A key figure: its name, its value, an interval or second line, and what it means in plain words."""

    name: str
    value: str
    detail: str
    meaning: str


def key_facts(
    gate: PairGate, plan: AnalysisPlan | None, n_findings: int, dictionaries: Sequence[Row]
) -> tuple[Fact, ...]:
    """The figures that the store has; `dictionaries` are the rows of `dictionary_quality`."""
    facts = [
        Fact(
            "Findings",
            str(n_findings),
            TESTED if n_findings else "on the held-out prompts",
            "Changes inside the models that were shown, on held-out prompts, to carry part of the difference.",
        ),
        Fact(
            "Gap between the models",
            f"{words.amount(gate.gap)} nats",
            f"per answer token, 95% {words.amounts(gate.gap_low, gate.gap_high)}",
            "How much likelier each model finds its own answer than the other model does.",
        ),
        *_closed(dictionaries),
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
    return tuple(facts)


def _closed(dictionaries: Sequence[Row]) -> list[Fact]:
    """What the dictionary that closes most of the gap closes, beside its layer's whole difference and mean shift."""
    measured = [row for row in dictionaries if row["share_dictionary"] is not None]
    if not measured:
        return []
    best = max(measured, key=lambda row: row["share_dictionary"])
    beside = [
        f"{name} {words.percent(best[column])}"
        for name, column in (("the whole difference", "share_whole"), ("the mean shift", "share_mean_shift"))
        if best[column] is not None
    ]
    return [
        Fact(
            "Gap that the dictionaries close",
            f"up to {words.percent(best['share_dictionary'])}",
            f"at layer {best['layer']}, on some of the prompts"
            + (f"; {', '.join(beside)}" if beside else ""),
            "What features can say of the difference at most; the rest stays unseen.",
        )
    ]
