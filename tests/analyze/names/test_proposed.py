"""Proposed names: how they are scored on D, which one is chosen, and how it is marked in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from analyze.behaviors import AnswerPredicate, OwnAnswer, OwnAnswers, likeness, separation
from analyze.names import NameTest, ProposedName, score_proposals
from fi_store.naming import Proposal
from tests.analyze.names.test_sentence import BARE, CLAIM

STEP = AnswerPredicate("words", ("step",))


def answers(base: Sequence[str], target: Sequence[str]) -> OwnAnswers:
    both = {"base": base, "target": target}
    return OwnAnswers(
        {side: [OwnAnswer(text, "?", True) for text in texts] for side, texts in both.items()},  # type: ignore[misc]
        np.arange(len(base)),
        np.asarray(["one"] * len(base)),
    )


ON_D = answers(
    ["so", "so", "so first", "then so", "so", "step so", "so", "so", "so", "so"],
    [*["step first then"] * 6, "step", "step", "so then", "only"],
)


def scored(
    *words: tuple[str, ...], own: AnswerPredicate | None = STEP, pushed: Sequence[str] = ("Step",)
) -> list[ProposedName]:
    proposals = [Proposal(phrase=" ".join(each), words=list(each)) for each in words]
    return score_proposals(proposals, "namer", "target", own, pushed, ON_D, 0.05)


def test_a_predicate_is_scored_on_all_clusters() -> None:
    found = separation(STEP, "target", ON_D)
    assert found.rates == {"base": 0.1, "target": 0.8}
    assert found.auc == pytest.approx(0.85)
    assert found.p_value == 1 / 2**7, "seven prompts, all in one direction"
    mirror = separation(STEP, "base", ON_D)
    assert (mirror.z, mirror.auc) == (-found.z, pytest.approx(0.15))
    assert mirror.p_value > 0.9
    assert likeness(STEP, STEP, ON_D) == 1
    assert likeness(STEP, AnswerPredicate("words", ("absent",)), ON_D) == 0


def test_a_proposal_that_separates_better_is_chosen() -> None:
    best, worse = scored(("first", "absent"), ("step", "only"))
    assert best.phrase == "step only"
    assert best.predicate == AnswerPredicate("words", ("step", "only"), 1)
    assert (best.chosen, worse.chosen) == (True, False)
    assert best.on_d.z > separation(STEP, "target", ON_D).z > worse.on_d.z
    assert not best.named, "only C can confirm it"


def test_the_number_of_words_is_chosen_on_d() -> None:
    on_d = answers([*["first"] * 5, *["then"] * 5], [*["first then"] * 8, "so", "so"])
    proposal = Proposal(phrase="First, then", words=["first", "then"])
    (found,) = score_proposals([proposal], "namer", "target", None, ("first",), on_d, 0.05)
    assert found.predicate.least == 2, "each answer of the base has one of them"
    assert found.chosen


def test_a_proposal_that_separates_worse_is_kept_but_not_chosen() -> None:
    (found,) = scored(("first", "absent"))
    assert not found.chosen


def test_a_proposal_about_other_answers_names_nothing() -> None:
    """It separates the answers as well as the behavior, but holds for others."""
    (found,) = scored(("step", "only"), own=AnswerPredicate("words", ("then",)))
    assert found.on_d.z > separation(AnswerPredicate("words", ("then",)), "target", ON_D).z
    assert found.chosen
    other = AnswerPredicate("words", ("only",))
    (found,) = scored(("step", "first"), own=other)
    assert found.on_d.z > separation(other, "target", ON_D).z
    assert not found.chosen


def test_without_a_behavior_it_must_be_beyond_chance_and_pushed() -> None:
    assert scored(("step", "only"), own=None)[0].chosen
    assert not scored(("step", "only"), own=None, pushed=("other",))[0].chosen
    assert not scored(("only", "absent"), own=None, pushed=("only",))[0].chosen, "one answer is chance"


def test_a_proposed_name_is_marked() -> None:
    (found,) = scored(("step", "only"))
    rates = separation(STEP, "target", ON_D)
    named = replace(found, phrase="Works in steps", test=NameTest(rates, 0.012, True))
    claim = replace(CLAIM, proposed=named)
    assert claim.name == "Works in steps"
    assert claim.sentence.startswith("Answers with 'Step 1': 96%"), "the figures stay those of the behavior"
    assert claim.sentence.endswith("(Name proposed by namer.)")
    assert claim.description.endswith(
        "; at least 1 of 'step', 'only' in 80% of the target's held-out answers, 10% of the base's, p 0.012 "
        "(name proposed by namer)."
    )
    assert replace(BARE, proposed=named).sentence.startswith("Works in steps (")
    assert "proposed" not in CLAIM.sentence + CLAIM.description
