"""How often each model is right: accuracy with intervals by difficulty and category, and the paired difference.

Clusters of prompts count, not prompts (METHOD section 1). Intervals are closed forms instead of bootstraps: for a model
that is never right, a bootstrap interval has width zero, while a score interval still shows how often it could be
right. All prompts of both halves count, since nothing here is searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyze.stats import holm, paired_interval, paired_p, share_interval
from fi_store.method import METHOD

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]


class Answer(NamedTuple):
    """One model's graded answer; `correct` is None if no answer could be read."""

    correct: bool | None
    finished: bool


@dataclass(frozen=True)
class Question:
    """A prompt with a grader and both models' answers to it."""

    cluster: int
    category: str
    difficulty: int | None
    chance: float  # of being right by guessing
    base: Answer
    target: Answer


def accuracy_rows(questions: Sequence[Question]) -> list[Row]:
    """The rows of the table `accuracy` without `run_id`: all questions, each difficulty, each category.

    Holm's correction (1979) covers all rows that were tested, which are those with at least
    `METHOD.min_category_clusters` clusters.
    """
    parts: list[tuple[str, Callable[[Question], object]]] = [
        ("all", lambda _: "*"),
        ("difficulty", lambda question: question.difficulty),
        ("category", lambda question: question.category),
    ]
    rows = []
    for part, name_of in parts:
        groups: dict[object, list[Question]] = {}
        for question in questions:
            groups.setdefault(name_of(question), []).append(question)
        rows += [
            {"part": part, "name": str(name), **_row(group)}
            for name, group in sorted(groups.items(), key=lambda item: str(item[0]))
            if name is not None
        ]
    tested = [row for row in rows if row["p_value"] is not None]
    for row, adjusted in zip(tested, holm(np.asarray([row["p_value"] for row in tested])), strict=True):
        row["p_adjusted"] = float(adjusted)
    return rows


def _row(questions: Sequence[Question]) -> Row:
    clusters = np.asarray([question.cluster for question in questions])
    right = {
        side: np.asarray([_of(question, side).correct is True for question in questions], dtype=np.float64)
        for side in ("base", "target")
    }
    difference = right["target"] - right["base"]
    low, high = paired_interval(difference, clusters)
    n_clusters = len(np.unique(clusters))
    p = paired_p(difference, clusters) if n_clusters >= METHOD.min_category_clusters else None
    return {
        "n_prompts": len(questions),
        "n_clusters": n_clusters,
        "chance": float(np.mean([question.chance for question in questions])),
        **_side(questions, right["base"], clusters, "base"),
        **_side(questions, right["target"], clusters, "target"),
        "difference": float(difference.mean()),
        "difference_low": low,
        "difference_high": high,
        "p_value": p,
        "p_adjusted": None,
        "note": None
        if p is not None
        else f"too few clusters for a p value ({n_clusters} < {METHOD.min_category_clusters})",
    }


def _side(questions: Sequence[Question], right: Floats, clusters: npt.NDArray[np.int64], side: str) -> Row:
    answers = [_of(question, side) for question in questions]
    low, high = share_interval(right, clusters)
    return {
        f"{side}_accuracy": float(right.mean()),
        f"{side}_low": low,
        f"{side}_high": high,
        f"{side}_right": sum(answer.correct is True for answer in answers),
        f"{side}_wrong": sum(answer.correct is False for answer in answers),
        f"{side}_unread": sum(answer.correct is None for answer in answers),
        f"{side}_cut_off": sum(not answer.finished for answer in answers),
        f"{side}_right_cut_off": sum(answer.correct is True and not answer.finished for answer in answers),
    }


def _of(question: Question, side: str) -> Answer:
    return question.base if side == "base" else question.target
