"""Grading a run's stored answers: which are graded, what is stored, what repeating does, hostile replies, the words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from analyze.pair import write_grades
from analyze.pair.grades import chance
from fi_store.store import Store, run_query
from fi_store.store.tables import Generation, Prompt
from render.charts.accuracy import accuracy_rows
from render.report.ability import reach, read_ability
from tests.helpers import by_hand
from tests.helpers.planted import HOSTILE

YES_OR_NO = {"kind": "choice", "options": ["yes", "no"]}
NUMBER = {"kind": "number", "tolerance": 0}


def prompt(number: int, answer: str | None, grader: dict[str, Any] | None, difficulty: int = 1) -> Prompt:
    return Prompt(
        id=f"p{number}",
        key=f"c/{number}",
        category="c",
        family=f"f{number}",
        difficulty=difficulty,
        language="en",
        text="The 7 cups stand on a shelf of oak. How many cups stand there?",
        answer=answer,
        grader=grader,
    )


def graded_store(
    folder: Path, prompts: list[Prompt], replies: dict[tuple[int, str], tuple[str, bool]]
) -> tuple[Store, str]:
    """An open store whose run asked `prompts`; replies: (prompt, author) -> text and whether it ended by itself."""
    store = by_hand.open_new(folder)
    n = len(prompts)
    run = by_hand.add_run(
        store, by_hand.model("a"), by_hand.model("b"), list(range(n)), ["D", "C"] * (n // 2) + ["D"] * (n % 2)
    )
    with store.session() as session:
        session.add_all(prompts)
        session.add_all(
            Generation(
                run_id=run,
                prompt_id=f"p{number}",
                author=author,
                chunk=0,
                text=text,
                n_tokens=3,
                finished=finished,
            )
            for (number, author), (text, finished) in replies.items()
        )
    return store, run


def test_every_answer_with_a_grader_is_graded(tmp_path: Path) -> None:
    prompts = [
        prompt(0, "7", NUMBER),
        prompt(1, "no", YES_OR_NO),
        prompt(2, None, None),
        prompt(3, "x", None),
    ]
    replies = {
        (0, "base"): ("There are 7.", True),
        (0, "target"): ("There are 8.", False),
        (1, "base"): ("Hard to say what the gardener meant", False),
        (1, "target"): ("No, they can't.", True),
        (2, "base"): ("7", True),
        (2, "target"): ("7", True),
        (3, "base"): ("x", True),
        (3, "target"): ("x", True),
    }
    store, run = graded_store(tmp_path, prompts, replies)
    with store:
        write_grades(store, store.run(run))
        rows = store.rows("select * exclude (run_id, how) from answer_grade order by prompt_id, author")
        assert rows == [
            {"prompt_id": "p0", "author": "base", "correct": True, "extracted": "7", "finished": True},
            {"prompt_id": "p0", "author": "target", "correct": False, "extracted": "8", "finished": False},
            {"prompt_id": "p1", "author": "base", "correct": None, "extracted": None, "finished": False},
            {"prompt_id": "p1", "author": "target", "correct": True, "extracted": "no", "finished": True},
        ]
        (whole,) = store.rows("select * from accuracy where part = 'all'")
        assert (whole["n_prompts"], whole["base_accuracy"], whole["target_accuracy"]) == (2, 0.5, 0.5)
        assert whole["chance"] == 0.25
        unread = run_query(store, "graded_answers", run=run, grade="unread").to_pylist()
        assert [(row["prompt"], row["author"], row["cut_off"], row["reply"]) for row in unread] == [
            ("c/1", "base", True, "Hard to say what the gardener meant")
        ]
        assert run_query(store, "graded_answers", run=run, author="target").num_rows == 2


def test_what_only_repeats_the_prompt_is_unread(tmp_path: Path) -> None:
    said = "The 7 cups stand on a shelf of oak."
    replies = {(0, "base"): (said, True), (0, "target"): (f"{said} So there are 7.", True)}
    store, run = graded_store(tmp_path, [prompt(0, "7", NUMBER)], replies)
    with store:
        write_grades(store, store.run(run))
        rows = store.rows("select correct from answer_grade order by author")
    assert [row["correct"] for row in rows] == [None, True]


def test_repeating_replaces_and_a_run_without_graders_has_no_rows(tmp_path: Path) -> None:
    replies = {(0, "base"): ("7", True), (0, "target"): ("7", True)}
    store, run = graded_store(tmp_path, [prompt(0, "7", NUMBER)], replies)
    with store:
        write_grades(store, store.run(run))
        with store.session() as session:
            session.execute(sa.update(Generation).values(text="8"))
        write_grades(store, store.run(run))
        assert [row["correct"] for row in store.rows("select correct from answer_grade")] == [False, False]
        assert store.rows("select base_accuracy as x from accuracy where part = 'all'") == [{"x": 0.0}]
        with store.session() as session:
            session.execute(sa.update(Prompt).values(answer=None, grader=None))
        write_grades(store, store.run(run))
        assert store.rows("select * from answer_grade") == []
        assert store.rows("select * from accuracy") == []
        said = read_ability(store, store.run(run), "a", "b")
        assert said.counted == "No prompt of this run has a grader, so nobody counted right answers."
        assert said.sentences == ()


def test_a_prompt_that_one_model_answered_takes_no_part_in_the_comparison(tmp_path: Path) -> None:
    replies = {(0, "base"): ("7", True), (0, "target"): ("7", True), (1, "base"): ("8", True)}
    store, run = graded_store(tmp_path, [prompt(0, "7", NUMBER), prompt(1, "7", NUMBER)], replies)
    with store:
        write_grades(store, store.run(run))
        assert len(store.rows("select * from answer_grade")) == 3
        assert store.rows("select base_accuracy as x from accuracy where part = 'all'") == [{"x": 1.0}]


def test_answers_of_another_extraction_are_graded_for_the_run_that_uses_them(tmp_path: Path) -> None:
    """With --skip-activations a run reads an earlier extraction: grades are its own, texts the other's."""
    replies = {(0, "base"): ("7", True), (0, "target"): ("5", True)}
    store, run = graded_store(tmp_path, [prompt(0, "7", NUMBER)], replies)
    with store:
        second = by_hand.add_run(store, by_hand.model("a"), by_hand.model("b"), [0], ["D"])
        with store.session() as session:
            session.get_one(type(store.run(second)), second).extraction_run_id = run
        write_grades(store, store.run(second))
        assert {row["run_id"] for row in store.rows("select run_id from answer_grade")} == {second}
        replied = run_query(store, "graded_answers", run=second).to_pylist()
        assert [row["reply"] for row in replied] == ["7", "5"]


def test_hostile_replies_are_graded_and_kept_as_they_are(tmp_path: Path) -> None:
    attacks = [
        *HOSTILE,
        "9" * 50_000,
        "(" * 20_000,
        "\u202e7\u0000",
        "the answer is '; DROP TABLE finding; --",
    ]
    prompts = [
        prompt(i, "7", NUMBER if i % 2 else {"kind": "exact", "aliases": ["seven"]})
        for i in range(len(attacks))
    ]
    replies = {(i, author): (text, False) for i, text in enumerate(attacks) for author in ("base", "target")}
    store, run = graded_store(tmp_path, prompts, replies)
    with store:
        write_grades(store, store.run(run))
        rows = run_query(store, "graded_answers", run=run).to_pylist()
        assert len(rows) == 2 * len(attacks)
        assert all(row["cut_off"] for row in rows)
        assert store.rows("select count(*) as n from finding") == [{"n": 0}]


def test_chance() -> None:
    assert chance(YES_OR_NO) == 0.5
    assert chance({"kind": "choice", "options": ["a", "b", "c", "d"]}) == 0.25
    assert chance({"kind": "choice"}) == 0
    assert chance(NUMBER) == 0


# Where an ability ends


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
    ("levels", "said"),
    [
        (
            [level(1, 0.5), level(2, 0.3), level(3, 0.2)],
            "A: right more often than by guessing up to difficulty 2 (right there: 50% [30%, 75%], by guessing 25%).",
        ),
        (
            [level(1, 0.1), level(2, 0.3)],
            "A: right more often than by guessing up to difficulty 2 (right there: 50% [30%, 75%], by guessing 25%), "
            "though not shown at 1; no harder prompts were asked.",
        ),
        (
            [level(1, 0.5), level(2, 0.3, clusters=7)],
            "A: right more often than by guessing up to difficulty 1 (right there: 50% [50%, 75%], by guessing 25%); "
            "harder prompts were too few to judge.",
        ),
        (
            [level(1, 0.25), level(2, 0.2)],
            "A: at no difficulty shown to be right more often than by guessing.",
        ),
        (
            [level(1, 0.5, clusters=7)],
            "A: cannot be said, since no difficulty has 8 families of graded prompts.",
        ),
        ([], "A: cannot be said, since no difficulty has 8 families of graded prompts."),
    ],
)
def test_where_an_ability_ends(levels: list[dict[str, Any]], said: str) -> None:
    assert reach("A", "base", levels) == said


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
        said = read_ability(store, store.run(run), "small", "large")
        points = accuracy_rows(run_query(store, "accuracy_by_difficulty", run=run))
    assert said.counted == (
        "3 of 4 graded answers (75%) were cut off at the limit; in 1 (25%) no answer could be read."
    )
    assert said.rule.endswith("(so with 1 of the 2 right ones).")
    assert said.sentences[2] == (
        "Over all 2 graded prompts small is right on 50% [9%, 91%] and large on 50% [9%, 91%]: 0 points [−98, 98] "
        "(too few clusters for a p value (2 < 8))."
    )
    assert [(point["difficulty"], point["model"], point["accuracy"]) for point in points] == [
        (1, "base", 1.0), (1, "target", 0.0), (4, "base", 0.0), (4, "target", 1.0),
    ]  # fmt: skip
    assert [(row["difficulty"], row["base_unread"], row["base_cut_off"]) for row in said.levels] == [
        (1, 0, 1), (4, 1, 1),
    ]  # fmt: skip
    assert [row["category"] for row in said.categories] == ["c"]
