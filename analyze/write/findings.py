"""The rows of results: findings, names with their scores, and examples; their wording is in `analyze.names`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from analyze.extraction import CLASSES, Extraction
from analyze.features import LayerEffects
from analyze.findings import Result
from analyze.names import Claim
from fi_store.method import METHOD
from fi_store.vocabulary import UNTESTED


def finding_row(
    run_id: str, group_id: str, rank: int, result: Result, layers: Sequence[LayerEffects], *, different: bool
) -> dict[str, Any]:
    """The row of one result. Without a difference in behavior it is an internal shift."""
    tested, change, behavior, claim = result.tested, result.change, result.behavior, claim_of(result, layers)
    rising = [item for item in result.categories if item.contrast > 0]
    return {
        "run_id": run_id,
        "group_id": group_id,
        "rank": rank,
        "tier": "observation" if different else "internal_shift",
        "causal_status": UNTESTED,
        "change": change.name,
        "named": claim.predicate is not None,
        "name": claim.name,
        "description": claim.description,
        "sentence": claim.sentence,
        "position_class": CLASSES[tested.group.position_class],
        "layers": claim.layers,
        "categories": [item.category for item in rising],
        "category_p": rising[0].p_adjusted if rising else None,
        "promoted_tokens": claim.promoted,
        "suppressed_tokens": claim.suppressed,
        "trigger_tokens": result.triggers,
        "effect": tested.effect,
        "ci_low": tested.low,
        "ci_high": tested.high,
        "floor": tested.floor,
        "p_value": tested.p_adjusted,
        "q_value": tested.q_value,
        "n_units": tested.n_units,
        "log2_ratio": change.log2_ratio,
        "log2_low": change.low,
        "log2_high": change.high,
        "rate_base": behavior.rate_base if behavior else None,
        "rate_target": behavior.rate_target if behavior else None,
        "rate_p": behavior.p_value if behavior else None,
        "share_closed": None,
        "share_low": None,
    }


def claim_of(result: Result, layers: Sequence[LayerEffects]) -> Claim:
    """What the name, the sentence and the description of a result are made of."""
    tested = result.tested
    best = result.names[0] if result.names else None
    standing_out = [
        (item.category, item.contrast, item.p_adjusted)
        for item in result.categories
        if item.contrast > 0 and item.p_adjusted is not None and item.p_adjusted <= METHOD.alpha
    ]
    return Claim(
        group=tested.group,
        layers=sorted({layers[index].layer for index in tested.group.layer_indices}),
        change=result.change,
        scope=tested.scope,
        n_units=tested.n_units,
        effect=tested.effect,
        low=tested.low,
        high=tested.high,
        floor=tested.floor,
        p_adjusted=tested.p_adjusted,
        name_words=result.name_words,
        triggers=result.triggers,
        promoted=[token for token, _ in result.promoted],
        suppressed=[token for token, _ in result.suppressed],
        predicate=best.predicate if best is not None and best.named else None,
        concept=result.concept,
        behavior=result.behavior,
        strongest_category=standing_out[0] if standing_out else None,
    )


def name_rows(run_id: str, group_id: str, result: Result) -> list[dict[str, Any]]:
    """Every stored candidate name with its scores; number 0 is the chosen one."""
    rows = []
    for number, item in enumerate(result.names):
        score = item.score
        rows.append(
            {
                "run_id": run_id,
                "group_id": group_id,
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
    return rows


def example_rows(run_id: str, group_id: str, result: Result, extraction: Extraction) -> list[dict[str, Any]]:
    """The example windows of a result."""
    units = extraction.units
    return [
        {
            "run_id": run_id,
            "group_id": group_id,
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
        for number, item in enumerate(result.examples)
    ]


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
