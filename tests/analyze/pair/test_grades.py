"""Grading a run's stored answers: which are graded, what is stored, what repeating does, hostile replies."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from analyze.pair import write_grades
from analyze.pair.grades import chance
from fi_store.store import run_query
from fi_store.store.tables import Generation, Prompt
from tests.helpers import by_hand
from tests.helpers.graded import NUMBER, graded_store, prompt
from tests.helpers.planted import HOSTILE

YES_OR_NO = {"kind": "choice", "options": ["yes", "no"]}


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


def test_an_answer_that_only_repeats_the_prompt_is_unread(tmp_path: Path) -> None:
    question = "The 7 cups stand on a shelf of oak."
    replies = {(0, "base"): (question, True), (0, "target"): (f"{question} So there are 7.", True)}
    store, run = graded_store(tmp_path, [prompt(0, "7", NUMBER)], replies)
    with store:
        write_grades(store, store.run(run))
        rows = store.rows("select correct from answer_grade order by author")
    assert [row["correct"] for row in rows] == [None, True]


def test_grading_again_replaces_rows_and_a_run_without_graders_has_none(tmp_path: Path) -> None:
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


def test_a_prompt_that_only_one_model_answered_is_not_compared(tmp_path: Path) -> None:
    replies = {(0, "base"): ("7", True), (0, "target"): ("7", True), (1, "base"): ("8", True)}
    store, run = graded_store(tmp_path, [prompt(0, "7", NUMBER), prompt(1, "7", NUMBER)], replies)
    with store:
        write_grades(store, store.run(run))
        assert len(store.rows("select * from answer_grade")) == 3
        assert store.rows("select base_accuracy as x from accuracy where part = 'all'") == [{"x": 1.0}]


def test_answers_of_another_extraction_are_graded_for_the_run_that_uses_them(tmp_path: Path) -> None:
    """With --skip-activations a run reads an earlier extraction: the grades are its own, the texts are not."""
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


def test_thinking_is_not_graded(tmp_path: Path) -> None:
    replies = {
        (0, "base"): ("<think>The answer is 15. No, 3.</think>8", True),
        (0, "target"): ("<think>So the answer is 8.", False),
    }
    store, run = graded_store(tmp_path, [prompt(0, "8", NUMBER)], replies)
    with store:
        write_grades(store, store.run(run))
        rows = store.rows("SELECT author, correct, extracted FROM answer_grade ORDER BY author")
        assert rows == [
            {"author": "base", "correct": True, "extracted": "8"},
            {"author": "target", "correct": None, "extracted": None},
        ]
        shown = run_query(store, "graded_answers").to_pylist()
        assert [(row["reply"], row["thinking"]) for row in shown] == [
            ("8", "<think>The answer is 15. No, 3.</think>"),
            (None, "<think>So the answer is 8."),
        ]
