"""Which prompts groups are patched on, on which tokens a behavior rests, and how groups become changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.behaviors import AnswerPredicate, OwnAnswers, answers_of
from analyze.causal.changes import (
    Change,
    Effects,
    effects_of,
    make_changes,
    prompts_to_patch,
    spans_in,
)
from analyze.causal.requests import Reading
from analyze.extraction import AnswerTokens, Extraction
from analyze.groups import Group, Member
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side
from tests.helpers.causal import candidate
from tests.helpers.synthetic import make

N = 24
PIECES = ["I", " think", " 12", "0", " apples", "."]
OTHER = ["So", " there", " are", " five", " pears", "."]
HEDGED = AnswerPredicate("sequence", ("i", "think"))
NUMBER = AnswerPredicate("words", ("120",))
LONG = AnswerPredicate("length", least=3)
UNFINISHED = AnswerPredicate("unfinished")
SPANISH = AnswerPredicate("language", ("es",))


def extraction_with(texts: dict[Side, list[list[str]]]) -> Extraction:
    """Units whose answers are these pieces; every model reads them as the same tokens."""
    plain = make(n_units=N).extraction
    answers = {
        (u, author, reader): AnswerTokens(
            np.full(len(texts[author][u]), -1.0), np.cumsum([len(piece) for piece in texts[author][u]])
        )
        for u in range(N)
        for author in SIDES
        for reader in SIDES
    }
    own = {side: ["".join(pieces) for pieces in texts[side]] for side in SIDES}
    return replace(plain, units=replace(plain.units, answers=own), answers=answers)


EXTRACTION = extraction_with({"base": [OTHER] * N, "target": [PIECES] * N})
ANSWERS = answers_of(EXTRACTION.units)


def group(number: int, share: float, index: int = 0) -> Group:
    effects: Any = None
    return Group(f"g{number}", effects, index, 2, (Member(number, 1.0, 1),), share, share, 0)


def effect(
    at: list[int], *, author: Side = "target", nats: float = 1.0, noise: float = 0.1, seed: int = 0
) -> Effects:
    """What a patch closes: `nats` at these tokens of one model's answers, noise at the others."""
    random = np.random.default_rng(seed)
    found: Effects = {}
    for side in SIDES:
        tokens = {}
        for unit in range(N):
            for who in SIDES:
                values = random.normal(0, noise, 6)
                if who == author:
                    values[at] += nats
                tokens[unit, who] = values
        found[side] = tokens
    return found


def mask_of(
    predicate: AnswerPredicate, extraction: Extraction = EXTRACTION, author: Side = "target"
) -> list[int]:
    answers = answers_of(extraction.units)
    return np.flatnonzero(spans_in(predicate, answers, extraction, 0, author, "base")).tolist()


def test_spans_cover_words_of_several_tokens() -> None:
    assert mask_of(HEDGED) == [0, 1]
    assert mask_of(NUMBER) == [2, 3]
    assert mask_of(AnswerPredicate("words", ("apples", "think"))) == [1, 4]
    assert mask_of(HEDGED, author="base") == []
    assert mask_of(AnswerPredicate("words", ("think", "pears"), 2)) == []


def test_a_behavior_of_whole_answers_rests_on_all_tokens_or_none() -> None:
    assert mask_of(LONG) == list(range(6))
    assert mask_of(AnswerPredicate("length", least=100)) == []
    assert mask_of(UNFINISHED) == []
    cut = replace(
        EXTRACTION,
        units=replace(EXTRACTION.units, finished=dict.fromkeys(SIDES, np.zeros(N, dtype=bool))),
    )
    assert mask_of(UNFINISHED, cut) == list(range(6))


def test_an_end_mark_is_part_of_no_span() -> None:
    texts = extraction_with({"base": [OTHER] * N, "target": [["I", " think"]] * N})
    ended = {
        key: replace(tokens, ends=np.append(tokens.ends, tokens.ends[-1]))
        for key, tokens in texts.answers.items()
    }
    assert mask_of(HEDGED, replace(texts, answers=ended)) == [0, 1]


def test_an_empty_answer_has_no_tokens() -> None:
    texts = extraction_with({"base": [OTHER] * N, "target": [[]] * N})
    assert mask_of(AnswerPredicate("empty"), texts) == []


@given(st.lists(st.sampled_from(["a", " b", "b", " c", "c.", "\n"]), min_size=1, max_size=12))
def test_spans_cover_every_character_of_a_word(pieces: list[str]) -> None:
    texts = extraction_with({"base": [OTHER] * N, "target": [pieces] * N})
    predicate = AnswerPredicate("words", ("b", "bc", "c"))
    ends = np.cumsum([len(piece) for piece in pieces])
    characters = {
        c
        for first, last in predicate.spans(answers_of(texts.units).answers["target"][0])
        for c in range(first, last)
    }
    expected = {at for at, end in enumerate(ends) if characters & set(range(end - len(pieces[at]), end))}
    assert set(mask_of(predicate, texts)) == expected


def apart(units: list[int], word: str = "sea") -> tuple[OwnAnswers, AnswerPredicate]:
    """Answers in which the target alone has a word in some units."""
    own = make(n_units=N).extraction.units
    target = [word if u in units else "land" for u in range(N)]
    return answers_of(replace(own, answers={"base": ["land"] * N, "target": target})), AnswerPredicate(
        "words", (word,)
    )


def test_prompts_to_patch_show_the_behaviors_and_others() -> None:
    answers, predicate = apart([1, 2, 20, 21, 22, 23])
    found = prompts_to_patch(answers, [candidate(predicate)], np.arange(N))
    assert len(found) == METHOD.patched_prompts
    assert (np.diff(found) > 0).all()
    assert {1, 2, 20, 21, 22, 23} <= set(found.tolist())
    # A behavior of most prompts leaves a quarter to the others.
    many, predicate = apart(list(range(20)))
    found = prompts_to_patch(many, [candidate(predicate)], np.arange(N))
    assert found.tolist() == [*range(12), 12, 15, 19, 23]


@given(st.sets(st.integers(0, N - 1)), st.sets(st.integers(0, N - 1)))
def test_prompts_to_patch_are_of_the_units_that_are_given(units: set[int], having: set[int]) -> None:
    answers, predicate = apart(sorted(having))
    given_units = np.asarray(sorted(units), dtype=np.int64)
    found = prompts_to_patch(answers, [candidate(predicate)], given_units)
    assert len(found) == len(set(found.tolist())) == min(len(units), METHOD.patched_prompts)
    assert set(found.tolist()) <= units


def test_a_group_belongs_to_the_behavior_on_whose_spans_it_acts() -> None:
    behaviors = [candidate(HEDGED), candidate(NUMBER)]
    groups = [group(0, 0.3), group(1, 0.2), group(2, 0.1)]
    found = make_changes(
        groups, [effect([2, 3]), effect([0, 1], seed=1), effect([5], seed=2)], behaviors, ANSWERS, EXTRACTION
    )
    assert [([g.id for g in change.groups], change.behavior) for change in found] == [
        (["g0"], 1),
        (["g1"], 0),
        (["g2"], None),
    ]


def test_the_first_behavior_wins() -> None:
    both = [candidate(HEDGED), candidate(AnswerPredicate("words", ("think",)))]
    (change,) = make_changes([group(0, 0.3)], [effect([0, 1])], both, ANSWERS, EXTRACTION)
    assert change.behavior == 0


def test_an_effect_in_the_other_models_answers_is_not_that_behavior() -> None:
    (change,) = make_changes(
        [group(0, 0.3)], [effect([0, 1], author="base", seed=1)], [candidate(HEDGED)], ANSWERS, EXTRACTION
    )
    assert change.behavior is None


def test_groups_of_one_behavior_are_one_change_with_the_strongest_in_front() -> None:
    groups = [group(0, 0.3), group(1, 0.2, index=1), group(2, 0.15, index=1)]
    effects = [effect([0, 1]), effect([0, 1], seed=1), effect([1], seed=2)]
    (change,) = make_changes(groups, effects, [candidate(HEDGED)], ANSWERS, EXTRACTION)
    assert change.leader is groups[0]
    assert change.layer_shares == pytest.approx({0: 0.3, 1: 0.35})
    assert change.tested_index == 0  # the earliest that holds half of the largest
    assert change.share == pytest.approx(0.35)


def test_the_earliest_layer_with_enough_is_tested() -> None:
    late = Change((group(0, 0.5, index=2), group(1, 0.2, index=0), group(2, 0.3, index=1)), None)
    assert late.tested_index == 1
    assert [g.id for g in late.tested] == ["g2"]
    assert late.share == 0.5


def test_free_groups_with_like_effects_join() -> None:
    like, unlike = effect([5]), effect([3], seed=3)
    again = {side: {key: 2 * nats for key, nats in like[side].items()} for side in SIDES}
    opposite = {side: {key: -nats for key, nats in like[side].items()} for side in SIDES}
    groups = [group(n, 0.4 - n / 10) for n in range(4)]
    found = make_changes(groups, [like, unlike, again, opposite], [], ANSWERS, EXTRACTION)
    assert [[g.id for g in change.groups] for change in found] == [["g0", "g2"], ["g1"], ["g3"]]


def everywhere(found: Effects, nats: float) -> Effects:
    """The same effect with `nats` more at every token."""
    return {side: {key: values + nats for key, values in found[side].items()} for side in SIDES}


def test_a_group_joins_the_behavior_whose_groups_do_the_like() -> None:
    owns, like, unlike = everywhere(effect([0, 1]), 1), everywhere(effect([], seed=1), 1), effect([4], seed=2)
    groups = [group(0, 0.4), group(1, 0.3), replace(group(2, 0.5), rest=True), group(3, 0.2)]
    found = make_changes(groups, [owns, like, unlike, unlike], [candidate(HEDGED)], ANSWERS, EXTRACTION)
    assert [([g.id for g in change.groups], change.behavior) for change in found] == [
        (["g0", "g1"], 0),
        (["g3"], None),
    ]
    (alone,) = make_changes([groups[1]], [like], [candidate(HEDGED)], ANSWERS, EXTRACTION)
    assert alone.behavior is None


def test_a_language_is_compared_with_the_answers_without_it() -> None:
    spanish = ["La casa", " de mi hermano", " es muy", " grande", " y bonita", "."]
    texts = extraction_with({"base": [OTHER] * N, "target": [spanish] * N})
    answers = answers_of(texts.units)
    all_tokens = effect([0, 1, 2, 3, 4, 5])

    def behavior_of(patched: Effects, predicate: AnswerPredicate) -> int | None:
        (change,) = make_changes([group(0, 0.3)], [patched], [candidate(predicate)], answers, texts)
        return change.behavior

    assert answers.holds(SPANISH, "target").all()
    assert behavior_of(all_tokens, SPANISH) == 0
    assert behavior_of(effect([], nats=0), SPANISH) is None
    assert behavior_of(all_tokens, AnswerPredicate("language", ("fi",))) is None
    # How much was written belongs to no group: whatever makes an answer go on would carry it.
    assert behavior_of(all_tokens, LONG) is None


def test_one_side_and_no_answers_do_not_crash() -> None:
    one: Effects = {"base": effect([0])["base"]}
    found = make_changes([group(0, 0.3), group(1, 0.2)], [one, effect([3])], [], ANSWERS, EXTRACTION)
    assert sorted(len(change.groups) for change in found) == [1, 1]
    assert make_changes([], [], [], ANSWERS, EXTRACTION) == []
    empty: Effects = {"base": {}}
    assert len(make_changes([group(0, 0.3)], [empty], [candidate(HEDGED)], ANSWERS, EXTRACTION)) == 1


def test_effects_need_both_readings_of_a_side() -> None:
    reading = Reading({(0, "base"): np.asarray([-1.0])}, {})
    lower = Reading({(0, "base"): np.asarray([-3.0])}, {})
    assert effects_of({"base": reading}, {"target": lower}) == {}
    found = effects_of({"base": reading, "target": reading}, {"base": lower})
    assert found["base"][0, "base"].tolist() == [2.0]
    assert list(found) == ["base"]


def test_swapping_the_pair_leaves_the_changes() -> None:
    other: dict[Side, Side] = {"base": "target", "target": "base"}
    effects = [effect([2, 3]), effect([0, 1], seed=1), effect([5], seed=2), effect([5], seed=4)]
    mirrored = [
        {other[s]: {(u, other[a]): nats for (u, a), nats in each[s].items()} for s in SIDES}
        for each in effects
    ]
    groups = [group(n, 0.4 - n / 10) for n in range(4)]
    texts = extraction_with({"base": [PIECES] * N, "target": [OTHER] * N})
    one = make_changes(groups, effects, [candidate(HEDGED), candidate(NUMBER)], ANSWERS, EXTRACTION)
    two = make_changes(
        groups,
        mirrored,
        [candidate(HEDGED, "base"), candidate(NUMBER, "base")],
        answers_of(texts.units),
        texts,
    )
    assert one == two
