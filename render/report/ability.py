"""Puts the graded answers into words: how many are right, and where each model's ability ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fi_store.method import METHOD
from fi_store.store import Store, run_query
from fi_store.store.tables import Run
from fi_store.vocabulary import SIDES
from render import words

Row = dict[str, Any]


@dataclass(frozen=True)
class Ability:
    """The report's section on right answers; without sentences nothing was graded."""

    counted: str  # the headline: how many answers were graded, cut off, unread
    rule: str  # what counts as right
    sentences: tuple[str, ...]  # where each model's ability ends, and which is right more often
    levels: tuple[Row, ...]
    categories: tuple[Row, ...]


def read_ability(store: Store, run: Run, base: str, target: str) -> Ability:
    """Reads the two saved queries; `base` and `target` are the names of the models."""
    rows = run_query(store, "accuracy_by_difficulty", run=run.id).to_pylist()
    if not rows:
        return Ability(
            "No prompt of this run has a grader, so right answers were not counted.", "", (), (), ()
        )
    whole, levels = rows[0], rows[1:]
    sentences = [
        ability_limit(base, "base", levels),
        ability_limit(target, "target", levels),
        _compared(base, target, whole),
    ]
    return Ability(
        counted=_counted(whole, run.config.get("max_new_tokens")),
        rule=_rule(whole),
        sentences=tuple(sentences),
        levels=tuple(levels),
        categories=tuple(run_query(store, "accuracy_by_category", run=run.id).to_pylist()),
    )


def _counted(whole: Row, limit: Any) -> str:
    """How many of all graded answers were cut off, and how many could not be read."""
    answers = 2 * whole["n_prompts"]
    cut, unread = _both(whole, "cut_off"), _both(whole, "unread")
    at = f" of {limit} tokens" if limit is not None else ""
    return (
        f"{cut:,} of {words.count(answers, 'graded answer')} ({words.percent(cut / answers)}) were cut off at the "
        f"limit{at}; in {unread:,} ({words.percent(unread / answers)}) no answer could be read."
    )


def _rule(whole: Row) -> str:
    return (
        "An unread answer never counts as right; a cut-off answer counts only if it had already stated the right "
        f"answer (true of {_both(whole, 'right_cut_off'):,} of the {_both(whole, 'right'):,} right ones)."
    )


def _both(whole: Row, name: str) -> int:
    """A count over both models."""
    return int(whole[f"base_{name}"] + whole[f"target_{name}"])


def ability_limit(name: str, side: str, levels: Sequence[Row]) -> str:
    """Where a model's ability ends: the highest difficulty whose lower limit of accuracy is above chance.

    Only difficulties with at least `METHOD.min_category_clusters` families are judged. Limits are at 95%, not adjusted
    for the number of difficulties.
    """
    judged = [row for row in levels if row["n_clusters"] >= METHOD.min_category_clusters]
    if not judged:
        return (
            f"{name}: cannot be judged, because no difficulty has {METHOD.min_category_clusters} families of graded "
            "prompts."
        )
    above = [row for row in judged if row[f"{side}_low"] > row["chance"]]
    if not above:
        return f"{name}: not shown to be right more often than by guessing at any difficulty."
    top = above[-1]
    share = words.percent(top[f"{side}_accuracy"])
    limits = words.shares(top[f"{side}_low"], top[f"{side}_high"])
    text = (
        f"{name}: right more often than by guessing up to difficulty {top['difficulty']} ({share} right "
        f"there {limits}, {words.percent(top['chance'])} by guessing)"
    )
    missing = [
        str(row["difficulty"]) for row in judged if row["difficulty"] < top["difficulty"] and row not in above
    ]
    if missing:
        text += f", though not shown at {words.listed(missing)}"
    if top is levels[-1]:
        text += "; no harder prompts were asked"
    elif top is judged[-1]:
        text += "; there were too few harder prompts to judge"
    return text + "."


def _compared(base: str, target: str, whole: Row) -> str:
    share = {side: words.percent(whole[f"{side}_accuracy"]) for side in SIDES}
    limits = {side: words.shares(whole[f"{side}_low"], whole[f"{side}_high"]) for side in SIDES}
    points = f"{words.points(whole['difference'])} points"
    low, high = 100 * whole["difference_low"], 100 * whole["difference_high"]
    p = words.p_value(whole["p_adjusted"]) if whole["p_adjusted"] is not None else whole["note"]
    return (
        f"Over all {words.count(whole['n_prompts'], 'graded prompt')}, {base} is right on {share['base']} "
        f"{limits['base']} and {target} on {share['target']} {limits['target']}: a difference of {points} "
        f"{words.interval(low, high, 0)} ({p})."
    )
