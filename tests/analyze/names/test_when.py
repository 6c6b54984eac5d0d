"""Predicates hold where they should; a name that fits is chosen, and a group without one stays unnamed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.extraction import PROMPT, RESPONSE, START, Extraction
from analyze.groups import Group, Member
from analyze.names import Contexts, NameCandidate, name_group
from analyze.names.predicates import (
    LINE_PATTERNS,
    QUESTION_PATTERNS,
    SEQUENCE_PARTS,
    Predicate,
    atoms_without_words,
)
from tests.helpers.synthetic import WORDS, make


@pytest.fixture(scope="module")
def extraction() -> Extraction:
    data = make(n_units=120, seed=2)
    questions = ["If 3 cats eat 4 fish, how many?" if u % 3 == 0 else "Describe the sea." for u in range(120)]
    units = replace(
        data.extraction.units, questions=questions, controls=["Describe 3 cats and 4 fish."] * 120
    )
    return replace(data.extraction, units=units)


@pytest.fixture(scope="module")
def contexts(extraction: Extraction) -> Contexts:
    return Contexts(extraction)


class Firing:
    """One feature with the given activity, in the target only."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.codes = {"base": values[:, None]}

    def activity(self, reader: str, latents: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return self.values * weights.sum() if reader == "target" else np.zeros_like(self.values)


def named(
    extraction: Extraction, contexts: Contexts, values: np.ndarray, position_class: int = RESPONSE
) -> list[NameCandidate]:
    effects: Any = Firing(values)
    group = Group("group", effects, 0, position_class, (Member(0, 1.0, 1),), 1.0, 1.0, 0)
    return name_group(group, extraction, contexts, seed=0)


def test_a_feature_of_one_word_is_named_by_it(extraction: Extraction, contexts: Contexts) -> None:
    rows = extraction.rows
    values = np.where((contexts.words == "cat") & (rows.position_class == RESPONSE), 1.0, 0.0)
    chosen = named(extraction, contexts, values)[0]
    assert "cat" in chosen.predicate.phrase
    assert chosen.score is not None
    assert chosen.score.auc["R"] > 0.95


def test_a_feature_of_a_word_under_a_condition_is_named_by_both(
    extraction: Extraction, contexts: Contexts
) -> None:
    condition = contexts.evaluate(Predicate("question", ("amount asked",)))
    response = extraction.rows.position_class == RESPONSE
    values = np.where(np.isin(contexts.words, ["cat", "sat"]) & response & condition, 1.0, 0.0)
    chosen = named(extraction, contexts, values)[0]
    assert chosen.named
    assert chosen.predicate.kind == "and"
    assert "'cat', 'sat'" in chosen.predicate.phrase or "'sat', 'cat'" in chosen.predicate.phrase


def test_noise_stays_unnamed(extraction: Extraction, contexts: Contexts) -> None:
    random = np.random.default_rng(1)
    values = np.where(
        (random.random(extraction.rows.n) < 0.3) & (extraction.rows.position_class == RESPONSE), 1.0, 0.0
    )
    assert not named(extraction, contexts, values)[0].named


def test_a_position_class_alone_is_no_name(extraction: Extraction, contexts: Contexts) -> None:
    values = np.where(extraction.rows.position_class == START, 1.0, 0.0)
    found = named(extraction, contexts, values, START)
    assert not any(candidate.named for candidate in found)


def test_a_feature_that_never_fires_has_no_candidates(extraction: Extraction, contexts: Contexts) -> None:
    assert named(extraction, contexts, np.zeros(extraction.rows.n)) == []


def test_every_row_is_in_one_part_of_its_sequence(extraction: Extraction, contexts: Contexts) -> None:
    parts = {name: contexts.evaluate(Predicate("place", (name,))) for name in SEQUENCE_PARTS}
    assert (sum(mask.astype(int) for mask in parts.values()) == 1).all()
    assert (parts["question"] == (extraction.rows.position_class == PROMPT)).all()


def test_lines_are_the_text_up_to_the_token(extraction: Extraction, contexts: Contexts) -> None:
    rows = extraction.rows
    row = int(np.flatnonzero(rows.position_class == RESPONSE)[3])
    same = (
        (rows.sequence == rows.sequence[row])
        & (rows.position_class == RESPONSE)
        & (rows.position <= rows.position[row])
    )
    text = "".join(WORDS[token] for token in rows.token[same])
    assert contexts._lines[row] == text


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("enumerator", "Item 2: the", "the 2 items"),
        ("enumerator", "3. so", "so 3"),
        ("bullet", "- one", "one - two"),
        ("digits", "they have 12", "they have"),
        ("equation", "3 + 4", "three and four"),
        ("code", "use `print", "use it"),
        ("clause", "however, he", "however he"),
        ("modal", "it might be", "it is"),
    ],
)
def test_line_patterns(name: str, yes: str, no: str) -> None:
    import re

    pattern = re.compile(LINE_PATTERNS[name][0], re.IGNORECASE)
    assert pattern.search(yes)
    assert not pattern.search(no)


@given(st.text(max_size=200))
def test_patterns_survive_any_text(text: str) -> None:
    import re

    for table in (LINE_PATTERNS, QUESTION_PATTERNS):
        for pattern, _ in table.values():
            re.search(pattern, text, re.IGNORECASE)


def test_phrases_read_like_english() -> None:
    both = Predicate("and", parts=(Predicate("question", ("quantities",)), Predicate("place", ("start",))))
    assert both.phrase == "at the start of an answer with problems that give quantities"
    assert all(predicate.phrase for predicate in atoms_without_words())
