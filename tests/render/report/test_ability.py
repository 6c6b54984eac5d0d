"""The report's words on graded answers: where an ability ends, what was cut off, and the chart of accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analyze.pair import write_grades
from fi_store.store import run_query
from render.charts.accuracy import accuracy_rows
from render.report.ability import ability_limit, read_ability
from tests.helpers.graded import NUMBER, graded_store, prompt


def level(difficulty: int, low: float, *, chance_: float = 0.25, clusters: int = 8) -> dict[str, Any]:
    return {
        "difficulty": difficulty,
        "n_clusters": clusters,
        "chance": chance_,
        "base_accuracy": 0.5,
        "base_low": low,
        "base_high": 0.75,
    }


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        (
            [level(1, 0.5), level(2, 0.3), level(3, 0.2)],
            "A: right more often than by guessing up to difficulty 2 (50% right there [30%, 75%], 25% by guessing).",
        ),
        (
            [level(1, 0.1), level(2, 0.3)],
            "A: right more often than by guessing up to difficulty 2 (50% right there [30%, 75%], 25% by guessing), "
            "though not shown at 1; no harder prompts were asked.",
        ),
        (
            [level(1, 0.5), level(2, 0.3, clusters=7)],
            "A: right more often than by guessing up to difficulty 1 (50% right there [50%, 75%], 25% by guessing); "
            "there were too few harder prompts to judge.",
        ),
        (
            [level(1, 0.25), level(2, 0.2)],
            "A: not shown to be right more often than by guessing at any difficulty.",
        ),
        (
            [level(1, 0.5, clusters=7)],
            "A: cannot be judged, because no difficulty has 8 families of graded prompts.",
        ),
        ([], "A: cannot be judged, because no difficulty has 8 families of graded prompts."),
    ],
)
def test_where_an_ability_ends(levels: list[dict[str, Any]], sentence: str) -> None:
    assert ability_limit("A", "base", levels) == sentence


def test_the_headline_counts_what_was_cut_off(tmp_path: Path) -> None:
    replies = {
        (0, "base"): ("There are 7.", False),
        (0, "target"): ("There are 8.", False),
        (1, "base"): ("So many!", False),
        (1, "target"): ("There are 7.", True),
    }
    store, run = graded_store(tmp_path, [prompt(0, "7", NUMBER), prompt(1, "7", NUMBER, 4)], replies)
    with store:
        write_grades(store, store.run(run))
        ability = read_ability(store, store.run(run), "small", "large")
        points = accuracy_rows(run_query(store, "accuracy_by_difficulty", run=run))
    assert ability.counted == (
        "3 of 4 graded answers (75%) were cut off at the limit; in 1 (25%) no answer could be read."
    )
    assert ability.rule.endswith("(true of 1 of the 2 right ones).")
    assert ability.sentences[2] == (
        "Over all 2 graded prompts, small is right on 50% [9%, 91%] and large on 50% [9%, 91%]: a difference of "
        "0 points [−98, 98] (too few clusters for a p value (2 < 8))."
    )
    assert [(point["difficulty"], point["model"], point["accuracy"]) for point in points] == [
        (1, "base", 1.0), (1, "target", 0.0), (4, "base", 0.0), (4, "target", 1.0),
    ]  # fmt: skip
    assert [(row["difficulty"], row["base_unread"], row["base_cut_off"]) for row in ability.levels] == [
        (1, 0, 1), (4, 1, 1),
    ]  # fmt: skip
    assert [row["category"] for row in ability.categories] == ["c"]


def test_without_graders_nothing_was_counted(tmp_path: Path) -> None:
    replies = {(0, "base"): ("7", True), (0, "target"): ("7", True)}
    store, run = graded_store(tmp_path, [prompt(0, None, None)], replies)
    with store:
        write_grades(store, store.run(run))
        ability = read_ability(store, store.run(run), "a", "b")
    assert ability.counted == "No prompt of this run has a grader, so right answers were not counted."
    assert ability.sentences == ()
