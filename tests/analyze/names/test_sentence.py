"""A finding in words: its name, its sentence with the figures, and its description, with and without optional parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.behaviors import AnswerPredicate, Behavior, Candidate
from analyze.behaviors.confirm import Rate
from analyze.causal import Generated, LayerShare
from analyze.names import Claim, behavior_sentence, behavior_title, percent
from analyze.names.sentence import NAME_WORDS, number, p_phrase, shortened
from fi_store.prompts import load_concepts
from fi_store.vocabulary import CHANGE_CLASSES, POSITION_CLASSES, SIDES, Side

HEDGED = next(concept for concept in load_concepts() if concept.phrase == "hedged statements")
STEPS = Candidate(
    predicate=AnswerPredicate("sequence", ("step", "1")),
    side="target",
    words=("step",),
    phrase="Step 1",
    concept=None,
    z=8.0,
    p_value=1e-6,
    base=0.1,
    target=0.9,
    ahead=40,
    behind=0,
)
BEHAVIOR = Behavior(
    candidate=STEPS,
    rates={"base": Rate(0.09, 0.04, 0.2), "target": Rate(0.96, 0.9, 1.0)},
    n_clusters=40,
    ahead=35,
    behind=0,
    tested=True,
    p_value=1e-8,
    p_adjusted=1e-7,
    by_category=(),
)
CLAIM = Claim(
    behavior=BEHAVIOR,
    side="target",
    layer=17,
    classes=["start"],
    n_features=7,
    share=(0.31, 0.13, 0.46),
    share_control=-0.06,
    share_behavior=None,
    by_behavior=False,
    ceiling=0.54,
    later=LayerShare(28, 0.48),
    p_adjusted=0.012,
    promoted=["Step", "1"],
    suppressed=["The"],
    name_words=["Step", "1", "First"],
    when="before 'assistant'",
    change="strengthened",
    change_inside="added",
    rates=Generated(17, 7, 20, 1.0, 0.05, 0.85),
    strongest_category="formal_logic",
    n_units=40,
)
BARE = replace(
    CLAIM,
    behavior=None,
    share_control=None,
    ceiling=None,
    later=None,
    promoted=[],
    suppressed=[],
    when=None,
    rates=None,
    strongest_category=None,
    n_features=1,
    n_units=1,
    classes=["prompt", "start", "response"],
    change="shared",
    change_inside="shared",
)


def test_the_sentence_says_what_the_answers_do_and_what_carries_it() -> None:
    assert CLAIM.name == "Answers with 'Step 1'"
    assert CLAIM.sentence == (
        "Answers with 'Step 1': 96% of the target's held-out answers, 9% of the base's. 7 features of layer 17, at the "
        "start of the answer, carry a part of it: set to the base's values they close 31% [13, 46] of the difference "
        "between the models (control −6%). With them switched off, 1 of 20 new answers has it instead of 20 (control "
        "17)."
    )


def test_the_share_of_its_behavior_is_told_where_it_decides() -> None:
    carried = replace(CLAIM, share_behavior=(0.72, 0.5, 0.9), rates=None)
    assert carried.sentence.endswith("close 31% [13, 46] of the difference between the models (control −6%).")
    assert replace(carried, by_behavior=True).sentence == (
        "Answers with 'Step 1': 96% of the target's held-out answers, 9% of the base's. 7 features of layer 17, at the "
        "start of the answer, carry a part of it: set to the base's values they close 72% [50, 90] of it."
    )


def test_features_of_another_layer_are_named_where_they_are_switched_off() -> None:
    later = replace(CLAIM, rates=Generated(28, 12, 20, 1.0, 0.05, None))
    assert later.sentence.endswith(
        "(control −6%). In layer 28, 12 features close 48%; with them switched off, 1 of 20 new answers has it instead "
        "of 20."
    )
    last = replace(later, later=None, rates=Generated(28, 1, 20, 0.5, 0.25, 0.45)).sentence
    assert last.endswith(
        "With 1 feature of layer 28 switched off, 5 of 20 new answers have it instead of 10 (control 9)."
    )


def test_a_patch_that_changes_no_answer_is_told_as_that() -> None:
    unmoved = replace(CLAIM, rates=Generated(17, 7, 20, 0.85, 0.85, None)).sentence
    assert "at the start of the answer, take part in it: set to" in unmoved
    assert unmoved.endswith(
        "(control −6%). With them switched off, 17 of 20 new answers have it, no fewer than before (17)."
    )


def test_a_language_is_what_answers_are_in() -> None:
    spanish = replace(STEPS, predicate=AnswerPredicate("language", ("es",)), phrase="Spanish")
    claim = replace(CLAIM, behavior=replace(BEHAVIOR, candidate=spanish), n_features=1)
    assert claim.sentence.endswith(
        "With it switched off, 1 of 20 new answers is in Spanish instead of 20 (control 17)."
    )


def test_a_finding_without_a_behavior_is_named_by_the_words_that_it_pushes() -> None:
    assert BARE.name == "More 'Step'"
    assert BARE.sentence == (
        "More 'Step' (almost equally active in both). 1 feature of layer 17, in the prompt, at the start of the answer "
        "and in the answer, carries a part of it: set to the base's values it closes 31% [13, 46] of the difference "
        "between the models."
    )
    at_start = replace(BARE, classes=["start"], side="base")
    assert at_start.name == "Less 'Step', '1', 'First' at the start of the answer"
    assert "set to the target's values" in at_start.sentence
    assert replace(at_start, when="in code").name == "Less 'Step', '1', 'First' in code"


def test_a_finding_that_pushes_no_words_has_a_name_too() -> None:
    assert replace(BARE, name_words=[], classes=["start"]).name == "Features at the start of the answer"
    assert replace(BARE, name_words=[], when="in code").name == "Features in code"


def test_the_description() -> None:
    assert CLAIM.description == (
        "Words that the target gains by it: 'Step', '1'; words that it loses: 'The'; active before 'assistant'; the "
        "whole difference at layer 17, at the start of the answer, closes 54%; its features: new in the target; "
        "strongest in formal logic; p 0.012 over 40 held-out prompts."
    )
    assert BARE.description == "Its features: almost equally active in both; p 0.012 over 1 held-out prompt."


@given(
    st.lists(st.text(min_size=1, max_size=30).filter(str.strip), max_size=10),
    st.lists(st.sampled_from(list(POSITION_CLASSES)), min_size=1, max_size=3, unique=True),
    st.none() | st.text(min_size=1, max_size=80).filter(str.strip),
    st.sampled_from(SIDES),
)
def test_names_have_twelve_words_at_most(
    words: list[str], classes: list[str], when: str | None, side: Side
) -> None:
    name = replace(BARE, name_words=words, classes=classes, when=when, side=side).name
    assert 1 <= len(name.split()) <= NAME_WORDS


@given(
    st.sampled_from(["words", "sequence", "form", "language"]),
    st.text(min_size=1, max_size=200).filter(str.strip),
    st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5),
    st.booleans(),
)
def test_names_of_behaviors_have_twelve_words_at_most(
    kind: str, phrase: str, words: list[str], covered: bool
) -> None:
    predicate = AnswerPredicate(kind, tuple(words))  # type: ignore[arg-type]
    concept = HEDGED if covered else None
    candidate = replace(STEPS, predicate=predicate, phrase=phrase, concept=concept)
    claim = replace(CLAIM, behavior=replace(BEHAVIOR, candidate=candidate))
    assert 1 <= len(claim.name.split()) <= NAME_WORDS
    assert claim.sentence.startswith(behavior_title(candidate))


def test_long_names_are_cut() -> None:
    assert shortened("a b c d e f g h i j k l") == "a b c d e f g h i j k l"
    assert shortened("a b c d e f g h i j k l m") == "a b c d e f g h i j k l…"


@pytest.mark.parametrize(
    ("predicate", "phrase", "title"),
    [
        (AnswerPredicate("language", ("es",)), "Spanish", "Answers in Spanish"),
        (AnswerPredicate("form", ("bold",)), "words in bold", "Answers with words in bold"),
        (AnswerPredicate("length", least=50), "longer than 50 words", "Answers longer than 50 words"),
        (AnswerPredicate("empty"), "no text", "Answers without any text"),
        (AnswerPredicate("unfinished"), "", "Answers that are cut off at the token limit"),
        (
            AnswerPredicate("repetition"),
            "6 consecutive words of the prompt",
            "Answers that repeat 6 consecutive words of the prompt",
        ),
        (
            AnswerPredicate("words", ("double", "check"), 2),
            "let me double-check",
            "Answers with two of 'double', 'check', as in 'let me double-check'",
        ),
    ],
)
def test_titles_of_behaviors(predicate: AnswerPredicate, phrase: str, title: str) -> None:
    assert behavior_title(replace(STEPS, predicate=predicate, phrase=phrase)) == title


def test_a_behavior_of_the_base_is_told_from_its_side() -> None:
    gone = replace(BEHAVIOR, candidate=replace(STEPS, side="base", concept=HEDGED))
    assert behavior_sentence(gone) == (
        "Answers with 'Step 1' (hedged statements): 9% of the base's held-out answers, 96% of the target's."
    )


def test_numbers() -> None:
    assert (percent(0.314), number(-0.06), percent(-0.001), percent(0)) == ("31%", "−6", "0%", "0%")
    assert p_phrase(0.001, 0.001) == "p ≤ 0.001"
    assert p_phrase(0.0123, 0.001) == "p 0.012"


def test_every_change_class_can_be_told() -> None:
    for change in CHANGE_CLASSES:
        claim = replace(BARE, change=change, change_inside=change)
        assert f"({CHANGE_CLASSES[change]})." in claim.sentence
        assert CHANGE_CLASSES[change] in claim.description
