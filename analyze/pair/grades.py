"""Grades both models' answers to the prompts that have a grader, and writes the grades and the accuracy.

It uses stored text only, no model and no activations. `fi_store.graders` reads the answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from analyze.pair.accuracy import Answer, Question, accuracy_rows
from fi_store.graders import grade
from fi_store.store import Store, write_facts
from fi_store.store.tables import Accuracy, AnswerGrade, Run

Row = dict[str, Any]


def write_grades(store: Store, run: Run) -> None:
    """Replaces the run's rows of `answer_grade` and `accuracy`; there are none if no prompt has a grader."""
    answers = _graded(store, run)
    grades = [
        {"run_id": run.id, **{name: row[name] for name in ("prompt_id", "author", *_GRADE)}}
        for row in answers
    ]
    accuracy = [{"run_id": run.id, **row} for row in accuracy_rows(_questions(answers))]
    with store.session() as session:
        for table, rows in ((AnswerGrade, grades), (Accuracy, accuracy)):
            columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
            write_facts(session, table, columns, replace={"run_id": run.id})


_GRADE = ("correct", "extracted", "how", "finished")


def _graded(store: Store, run: Run) -> list[Row]:
    """Every stored answer to a prompt with a grader, in the order of the prompts, with its grade."""
    rows = store.rows(
        "select g.prompt_id, g.author, coalesce(substr(g.text, g.answer_start + 1), '') as text, g.finished,"
        " p.text as prompt, p.answer, p.grader,"
        " p.difficulty, u.category, u.cluster"
        " from generation g join prompt p on p.id = g.prompt_id"
        " join run_unit u on u.run_id = $run and u.prompt_id = g.prompt_id"
        " where g.run_id = $source and p.answer is not null order by u.unit, g.author",
        run=run.id,
        source=run.extraction_run_id,
    )
    graded = []
    for row in rows:
        grader = json.loads(row["grader"]) if row["grader"] is not None else None
        if isinstance(grader, dict):  # a prompt without one holds JSON's null
            found = grade(grader, row["answer"], row["text"], row["prompt"])
            graded.append(
                {
                    **row,
                    "correct": found.correct,
                    "extracted": found.extracted,
                    "how": found.how,
                    "chance": chance(grader),
                }
            )
    return graded


def _questions(answers: list[Row]) -> list[Question]:
    """The prompts that both models answered."""
    pairs: dict[str, dict[str, Row]] = {}
    for row in answers:
        pairs.setdefault(row["prompt_id"], {})[row["author"]] = row
    return [
        Question(
            cluster=pair["base"]["cluster"],
            category=pair["base"]["category"],
            difficulty=pair["base"]["difficulty"],
            chance=pair["base"]["chance"],
            base=Answer(pair["base"]["correct"], pair["base"]["finished"]),
            target=Answer(pair["target"]["correct"], pair["target"]["finished"]),
        )
        for pair in pairs.values()
        if len(pair) == 2
    ]


def chance(grader: Mapping[str, Any]) -> float:
    """How often a guess is right: 1 / number of options for a choice, 0 for any other kind of answer."""
    options = grader.get("options")
    return 1 / len(options) if grader.get("kind") == "choice" and options else 0.0
