"""The rows of results: findings with their sentence, names with their scores, examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analyze.extraction import CLASSES, Extraction
from analyze.features import LayerEffects
from analyze.findings import Result
from analyze.names import layers_phrase, make_name, of_categories, p_phrase, percent, quoted
from fi_store.method import METHOD
from fi_store.vocabulary import CHANGE_CLASSES, POSITION_CLASSES, UNTESTED


def finding_row(
    run_id: str, group_id: str, rank: int, result: Result, layers: Sequence[LayerEffects], *, different: bool
) -> dict[str, Any]:
    """One result as the store keeps it. Without a difference in behavior it is an internal shift."""
    tested, change, behavior = result.tested, result.change, result.behavior
    chosen = result.names[0] if result.names else None
    named = chosen is not None and chosen.named
    numbers = sorted({layers[index].layer for index in tested.group.layer_indices})
    predicate = chosen.predicate if named and chosen is not None else None
    name = make_name(
        tested.group.direction,
        result.told.words if result.told else result.said,
        result.triggers,
        tested.group.position_class,
        predicate,
        result.told.concept.phrase if result.told else None,
    )
    rising = [item for item in result.categories if item.contrast > 0]
    return {
        "run_id": run_id,
        "group_id": group_id,
        "rank": rank,
        "tier": "observation" if different else "internal_shift",
        "causal_status": UNTESTED,
        "change": change.name,
        "named": named,
        "name": name,
        "description": _description(result, numbers),
        "sentence": _sentence(result, numbers, name),
        "position_class": CLASSES[tested.group.position_class],
        "layers": numbers,
        "categories": [item.category for item in rising],
        "category_p": rising[0].p_adjusted if rising else None,
        "promoted_tokens": [token for token, _ in result.promoted],
        "suppressed_tokens": [token for token, _ in result.suppressed],
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


def _sentence(result: Result, numbers: Sequence[int], name: str) -> str:
    """The claim with its figures: where, what, how strong, in how many answers, how sure.

    The answers are left out where their words do not move the way the features do.
    """
    tested, behavior = result.tested, result.behavior
    p = p_phrase(tested.p_adjusted, 1 / (METHOD.sign_flips + 1))
    claim = f"{layers_phrase(numbers)}: {name} - {CHANGE_CLASSES[result.change.name]}"
    size = (
        f"θ {tested.effect:+.2f} [{tested.low:+.2f}, {tested.high:+.2f}] against a floor of {tested.floor:.2f}, "
        f"{p}, {tested.n_units} held-out prompts{of_categories(tested.scope)}"
        f"{'; class and answers over all prompts' if tested.scope else ''}"
    )
    if behavior is None or tested.group.direction * (behavior.rate_target - behavior.rate_base) <= 0:
        return f"{claim} ({size}); {UNTESTED}."
    said = (
        f"{percent(behavior.rate_target)} of the target's and {percent(behavior.rate_base)} of the base's answers "
        f"{behavior.phrase}"
    )
    return f"{claim} ({said}; {size}); {UNTESTED}."


def _description(result: Result, numbers: Sequence[int]) -> str:
    group, change = result.tested.group, result.change
    gains = sum(member.sign > 0 for member in group.members)
    loses = len(group.members) - gains
    sides = " and ".join(
        f"{count} {'feature' if count == 1 else 'features'} that {verb}"
        for count, verb in (
            (gains, "gain" if gains > 1 else "gains"),
            (loses, "lose" if loses > 1 else "loses"),
        )
        if count
    )
    parts = [
        f"{sides} {POSITION_CLASSES[CLASSES[group.position_class]]}, {layers_phrase(numbers).lower()}",
        f"activity ratio target/base {2**change.log2_ratio:.2g} [{2**change.low:.2g}, {2**change.high:.2g}]"
        f"{' over all prompts' if result.tested.scope else ''}",
    ]
    if group.companions:
        parts.append(
            f"{len(group.companions)} more {'groups' if len(group.companions) > 1 else 'group'} of features "
            "at other places of the answers move on the same prompts"
        )
    if change.auc_base is not None and change.auc_target is not None:
        parts.append(
            f"where it fires can be read from the base's residuals with AUC {change.auc_base:.2f}, "
            f"from the target's with {change.auc_target:.2f}"
        )
    if result.told is not None:
        told = result.told
        parts.append(
            f"{quoted(told.words, 3)} speak of {told.concept.phrase}, found in {percent(told.rate_target)} of the "
            f"target's and {percent(told.rate_base)} of the base's answers "
            f"({p_phrase(told.p_value, 0.0001)}): {told.concept.description.rstrip('.')}"
        )
    if result.promoted:
        parts.append(f"next tokens that gain: {quoted([token for token, _ in result.promoted], 5)}")
    if result.suppressed:
        parts.append(f"that lose: {quoted([token for token, _ in result.suppressed], 5)}")
    standing = [
        item for item in result.categories if (item.p_adjusted or 1.0) <= METHOD.alpha and item.contrast > 0
    ]
    if standing:
        first = standing[0]
        parts.append(
            f"strongest in {first.category.replace('_', ' ')} (contrast {first.contrast:+.2f}, "
            f"adjusted p {first.p_adjusted:.2g})"
        )
    return "; ".join(parts) + "."


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
    """The windows of text behind a result."""
    units = extraction.units
    return [
        {
            "run_id": run_id,
            "group_id": group_id,
            "number": number,
            "prompt_id": units.prompt_ids[item.prompt],
            "author": item.author,
            "category": str(units.categories[item.prompt]),
            "before": item.before,
            "token": item.token,
            "after": item.after,
            "value_base": item.value_base,
            "value_target": item.value_target,
        }
        for number, item in enumerate(result.examples)
    ]


def _json(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
