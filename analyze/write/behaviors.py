"""The rows of behaviors: one per difference that D shows, and its rates by category."""

from __future__ import annotations

import json
from typing import Any

from analyze.behaviors import Behavior
from analyze.names import behavior_sentence, behavior_title
from fi_store.vocabulary import SIDES


def behavior_row(run_id: str, number: int, behavior: Behavior, alpha: float) -> dict[str, Any]:
    """One row of `behavior`; `number` counts in the order of D, from 1."""
    candidate = behavior.candidate
    rates: dict[str, float] = {}
    for side in SIDES:
        rate = behavior.rates[side]
        rates |= {side: rate.share, f"{side}_low": rate.low, f"{side}_high": rate.high}
    return {
        "run_id": run_id,
        "number": number,
        "side": candidate.side,
        "kind": candidate.predicate.kind,
        "predicate": json.dumps(candidate.predicate.to_json(), ensure_ascii=False),
        "phrase": candidate.phrase,
        "words": list(candidate.words),
        "concept": candidate.concept.phrase if candidate.concept is not None else None,
        "title": behavior_title(candidate),
        "sentence": behavior_sentence(behavior),
        "z": candidate.z,
        "p_discovery": candidate.p_value,
        "base_discovery": candidate.base,
        "target_discovery": candidate.target,
        "ahead_discovery": candidate.ahead,
        "behind_discovery": candidate.behind,
        **rates,
        "n_clusters": behavior.n_clusters,
        "ahead": behavior.ahead,
        "behind": behavior.behind,
        "tested": behavior.tested,
        "p_value": behavior.p_value,
        "p_adjusted": behavior.p_adjusted,
        "confirmed": behavior.confirmed(alpha),
    }


def rate_rows(run_id: str, number: int, behavior: Behavior) -> list[dict[str, Any]]:
    """The rows of `behavior_rate` of one behavior."""
    rows = []
    for part in behavior.by_category:
        row: dict[str, Any] = {
            "run_id": run_id,
            "number": number,
            "category": part.category,
            "n_clusters": part.n_clusters,
        }
        for side in SIDES:
            rate = part.rates[side]
            row |= {side: rate.share, f"{side}_low": rate.low, f"{side}_high": rate.high}
        rows.append(row)
    return rows
