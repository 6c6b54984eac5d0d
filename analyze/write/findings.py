"""The rows of findings: names with their scores, and examples; their wording is in `analyze.names`."""

from __future__ import annotations

import json
from typing import Any

from analyze.extraction import Extraction, IntArray
from analyze.findings import Finding
from analyze.names import ProposedName
from analyze.stats import mean_interval
from analyze.write.keys import feature_id
from fi_store.vocabulary import TESTED


def finding_row(
    run_id: str, rank: int, finding: Finding, number: int | None, clusters: IntArray
) -> dict[str, Any]:
    """The row of one finding. `number`: that of its behavior in the store. `clusters`: of the units of C that were
    read."""
    best, claim, inside, behavior = finding.tested.best, finding.claim, finding.inside, finding.behavior
    nats = mean_interval(best.closed.nats, clusters)
    rising = [item for item in finding.categories if item.contrast > 0]
    generated = finding.generated
    return {
        "run_id": run_id,
        "group_id": finding.leader.id,
        "rank": rank,
        "tier": "finding",
        "causal_status": TESTED,
        "change": finding.change,
        "named": behavior is not None or claim.when is not None or claim.proposed is not None,
        "name": claim.name,
        "description": claim.description,
        "sentence": claim.sentence,
        "position_class": finding.tested.planned.change.tested[0].class_name,
        "layers": sorted({group.effects.layer for group in finding.tested.planned.change.groups}),
        "categories": [item.category for item in rising],
        "category_p": rising[0].p_adjusted if rising else None,
        "promoted_tokens": finding.promoted,
        "suppressed_tokens": finding.suppressed,
        "trigger_tokens": finding.triggers,
        "effect": best.closed.mean,
        "ci_low": float(nats.low),
        "ci_high": float(nats.high),
        "floor": None,
        "p_value": best.p_adjusted,
        "q_value": None,
        "n_units": len(best.closed.nats),
        "log2_ratio": inside.log2_ratio,
        "log2_low": inside.low,
        "log2_high": inside.high,
        "rate_base": behavior.rates["base"].share if behavior else None,
        "rate_target": behavior.rates["target"].share if behavior else None,
        "rate_p": behavior.p_adjusted if behavior else None,
        "share_closed": best.closed.share,
        "share_low": best.closed.low,
        "share_high": best.closed.high,
        "words": finding.words,
        "phrase": behavior.candidate.phrase if behavior else None,
        "behavior": number,
        "rate_patched": generated.patched if generated else None,
        "rate_control": generated.control if generated else None,
        "rate_clean": generated.clean if generated else None,
        "n_generated": generated.n if generated else None,
        "share_control": claim.share_control,
        "share_behavior": claim.share_behavior[0] if claim.share_behavior else None,
        "ceiling": claim.ceiling,
        "side": best.closed.side,
        "layer": claim.layer,
        "change_inside": inside.name,
        "features": [
            feature_id(run_id, group.effects, member.latent)
            for group in finding.tested.planned.change.tested
            for member in group.members
        ],
    }


def name_rows(run_id: str, finding: Finding) -> list[dict[str, Any]]:
    """Every stored candidate name with its scores: where it acts, number 0 the chosen one, then what was proposed."""
    rows = []
    for number, item in enumerate(finding.names):
        score = item.score
        rows.append(
            {
                "run_id": run_id,
                "group_id": finding.leader.id,
                "number": number,
                "phrase": item.predicate.phrase,
                "predicate": _json(item.predicate.to_json()),
                "method": "lexical" if item.predicate.lexical else "contextual",
                "auc_d": item.discovery_low,
                "auc_random": score.auc["R"] if score else None,
                "auc_random_low": score.low["R"] if score else None,
                "auc_hard": score.hard if score else None,
                "auc_hard_low": score.hard_low if score else None,
                "scores": _json(
                    {
                        "auc": dict(score.auc),
                        "low": dict(score.low),
                        "n": dict(score.n),
                        "baseline": item.baseline,
                    }
                )
                if score
                else None,
                "chosen": number == 0,
                "named": item.named,
            }
        )
    return [
        *rows,
        *(proposed_row(run_id, finding, at, name) for at, name in enumerate(finding.proposed, len(rows))),
    ]


def proposed_row(run_id: str, finding: Finding, number: int, name: ProposedName) -> dict[str, Any]:
    """The row of a name that a language model proposed."""
    scores: dict[str, Any] = {"model": name.model, "z_d": name.on_d.z, "rates_d": name.on_d.rates}
    if name.test is not None:
        on_c = name.test.on_c
        scores |= {"rates_c": on_c.rates, "p_c": on_c.p_value, "p_adjusted": name.test.p_adjusted}
    return {
        "run_id": run_id,
        "group_id": finding.leader.id,
        "number": number,
        "phrase": name.phrase,
        "predicate": _json(name.predicate.to_json()),
        "method": "proposed",
        "auc_d": name.on_d.auc,
        "auc_random": None,
        "auc_random_low": None,
        "auc_hard": None,
        "auc_hard_low": None,
        "scores": _json(scores),
        "chosen": name.chosen,
        "named": name.named,
    }


def example_rows(run_id: str, finding: Finding, extraction: Extraction) -> list[dict[str, Any]]:
    """The example windows of a finding."""
    units = extraction.units
    return [
        {
            "run_id": run_id,
            "group_id": finding.leader.id,
            "number": number,
            "prompt_id": units.prompt_ids[item.unit],
            "author": item.author,
            "category": str(units.categories[item.unit]),
            "before": item.before,
            "token": item.token,
            "after": item.after,
            "value_base": item.value_base,
            "value_target": item.value_target,
        }
        for number, item in enumerate(finding.examples)
    ]


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
