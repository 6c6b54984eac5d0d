"""A result in words: its name, its sentence with the figures, and its description, with and without optional parts."""

from __future__ import annotations

from dataclasses import replace

from analyze.extraction import START
from analyze.groups import Change, Group
from analyze.groups.join import Member
from analyze.names import Claim, MatchedConcept, WordRates
from fi_store.prompts import load_concepts

GROUP = Group(START, (Member(0, 0, 0.6, 1), Member(0, 1, 0.3, 1), Member(1, 5, 0.1, -1)), 1.0, 1)
CLAIM = Claim(
    group=GROUP,
    layers=[3, 7],
    change=Change("strengthened", 1.0, 0.5, 1.5),
    scope=(),
    n_units=20,
    effect=0.4,
    low=0.3,
    high=0.5,
    floor=0.1,
    p_adjusted=0.003,
    name_words=["Step", "First"],
    triggers=[],
    promoted=["Step"],
    suppressed=["The"],
    predicate=None,
    concept=None,
    behavior=WordRates(("Step",), True, 0.05, 0.8, 0.001),
    strongest_category=None,
)


def test_the_sentence_holds_the_claim_and_its_figures() -> None:
    assert CLAIM.name == "more 'Step', 'First' at the start of the answer"
    assert CLAIM.sentence == (
        "Layers 3 and 7: more 'Step', 'First' at the start of the answer - stronger in the target (80% of the target's "
        "and 5% of the base's answers begin with 'Step'; θ +0.40 [+0.30, +0.50] against a floor of 0.10, p 0.003, "
        "20 held-out prompts); not tested causally."
    )


def test_the_sentence_names_its_categories_and_leaves_out_answers_that_move_the_other_way() -> None:
    scoped = replace(
        CLAIM, scope=("formal_logic", "sums"), behavior=WordRates(("Step",), True, 0.8, 0.05, 0.001)
    )
    assert scoped.sentence.endswith(
        "(θ +0.40 [+0.30, +0.50] against a floor of 0.10, p 0.003, 20 held-out prompts of formal logic and sums; "
        "change class and answers over all prompts); not tested causally."
    )


def test_the_description_lists_what_is_known() -> None:
    assert CLAIM.description == (
        "2 features that gain and 1 feature that loses at the start of the answer, layers 3 and 7; activity ratio "
        "target/base 2 [1.4, 2.8]; next tokens that gain: 'Step'; next tokens that lose: 'The'."
    )


def test_the_description_adds_companions_readability_the_concept_and_a_category() -> None:
    concept = next(concept for concept in load_concepts() if concept.phrase == "hedged statements")
    full = replace(
        CLAIM,
        group=replace(GROUP, companions=(GROUP,)),
        change=Change("added", 1.0, 0.5, 1.5, 0.6, 0.95),
        concept=MatchedConcept(concept, ("perhaps", "might"), 0.1, 0.9, 0.002),
        strongest_category=("formal_logic", 0.25, 0.01),
    )
    assert full.name == "more hedged statements ('perhaps', 'might') at the start of the answer"
    for part in (
        "1 more group of features in other parts of the answers moves on the same prompts; ",
        "the base's residuals predict where it fires with AUC 0.60, the target's with 0.95; ",
        "'perhaps', 'might' point to hedged statements, found in 90% of the target's and 10% of the base's answers "
        "(p 0.002): ",
        "strongest in formal logic (contrast +0.25, adjusted p 0.01).",
    ):
        assert part in full.description
