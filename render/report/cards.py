"""Collects what the card of a finding shows: answers with its behavior marked, examples, features, contrasts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fi_store.store import Store, run_query
from fi_store.vocabulary import SIDES, Side
from render.report.marks import Piece, marked

Row = dict[str, Any]

SHOWN_ANSWERS = 2
ANSWER = 900
"""Characters of an answer that a card shows."""
SHOWN_EXAMPLES = 4
BEFORE, AFTER = 170, 90
"""Characters of an example shown before and after the marked token."""


@dataclass(frozen=True)
class Answers:
    """A held-out prompt with both models' answers, and the answer with the finding's patch on if there is one."""

    prompt: str
    category: str
    base: tuple[Piece, ...]
    target: tuple[Piece, ...]
    patched: tuple[Piece, ...] | None
    patched_side: str | None  # the model that was patched
    thoughts: dict[Side, str]  # what each model thought before its answer

    @property
    def apart(self) -> bool:
        """Whether exactly one model's answer has marks."""
        return _has_marks(self.base) != _has_marks(self.target)


@dataclass(frozen=True)
class Card:
    """One finding with everything that supports it."""

    row: Row
    behavior: Row | None
    answers: tuple[Answers, ...]
    examples: tuple[Row, ...]
    features: tuple[Row, ...]
    contrasts: tuple[Row, ...]


def read_cards(
    store: Store, run_id: str, findings: Sequence[Row], behaviors: Sequence[Row]
) -> tuple[Card, ...]:
    """The cards of the findings; `behaviors` are the rows of the query of that name."""
    numbered = {row["number"]: row for row in behaviors}
    answers, examples, features, contrasts = (
        _by_rank(run_query(store, query, run=run_id).to_pylist())
        for query in ("finding_answers", "finding_examples", "finding_features", "finding_categories")
    )
    return tuple(
        Card(
            row=row,
            behavior=numbered.get(row["behavior"]),
            answers=choose_answers(answers[row["rank"]], numbered.get(row["behavior"])),
            examples=tuple(_trimmed(example) for example in examples[row["rank"]][:SHOWN_EXAMPLES]),
            features=tuple(features[row["rank"]]),
            contrasts=tuple(contrasts[row["rank"]]),
        )
        for row in findings
    )


def choose_answers(rows: Sequence[Row], behavior: Mapping[str, Any] | None) -> tuple[Answers, ...]:
    """The first prompts where exactly one model's answer has the behavior; if there are too few, the first others.

    A behavior without words of its own (a form, a language) is looked for by the words that come with it: prompts come
    first where the model that has it wrote the most of them that the other did not.

    What the patch does to the answer plays no part in the choice, so the prompts do not flatter the finding.
    """
    made = [
        Answers(
            prompt=row["text"],
            category=row["category"],
            base=_answer(row["base_answer"] or "", behavior),
            target=_answer(row["target_answer"] or "", behavior),
            patched=None if row["patched_answer"] is None else _answer(row["patched_answer"], behavior),
            patched_side=row["patched_side"],
            thoughts={side: _trimmed_thought(row[f"{side}_thinking"] or "") for side in SIDES},
        )
        for row in rows
    ]
    order = sorted(
        range(len(made)),
        key=lambda at: (made[at].patched is None, not made[at].apart, -_words_apart(rows[at], behavior)),
    )
    return tuple(made[at] for at in order[:SHOWN_ANSWERS])


def _words_apart(row: Row, behavior: Mapping[str, Any] | None) -> int:
    """How many words that come with a behavior only its model's answer has; 0 if the behavior rests on words itself."""
    answers = {side: row[f"{side}_answer"] or "" for side in SIDES}
    if behavior is None or any(_has_marks(marked(text, behavior)) for text in answers.values()):
        return 0
    words = {side: set(re.findall(r"\w+", text.casefold())) for side, text in answers.items()}
    (other,) = set(SIDES) - {behavior["side"]}
    return len({word.casefold() for word in behavior["words"]} & (words[behavior["side"]] - words[other]))


def _answer(text: str, behavior: Mapping[str, Any] | None) -> tuple[Piece, ...]:
    return marked(text if len(text) <= ANSWER else text[:ANSWER] + "…", behavior)


def _trimmed_thought(text: str) -> str:
    return text if len(text) <= ANSWER else "…" + text[-ANSWER:]


def _has_marks(pieces: Sequence[Piece]) -> bool:
    return any(piece.marked for piece in pieces)


def _by_rank(rows: Sequence[Row]) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["rank"]].append(row)
    return groups


def _trimmed(example: Row) -> Row:
    before, after = example["before"], example["after"]
    largest = max(example["value_base"], example["value_target"], 1e-12)
    return {
        **example,
        "before": before if len(before) <= BEFORE else "…" + before[-BEFORE:],
        "after": after if len(after) <= AFTER else after[:AFTER] + "…",
        "share_base": max(0.0, example["value_base"] / largest),
        "share_target": max(0.0, example["value_target"] / largest),
    }
