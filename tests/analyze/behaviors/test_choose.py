"""Behaviors: planted differences are found, phrased and confirmed; mirrored pairs mirror; nothing comes of nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.behaviors import Behavior, choose_behaviors, confirm_behaviors
from analyze.behaviors.own_answers import OwnAnswers
from analyze.behaviors.predicates import OwnAnswer
from analyze.behaviors.score import log_odds, one_sided_p
from analyze.behaviors.words import as_written, is_content, shared_sequence, with_companions
from analyze.names import behavior_sentence
from analyze.names.sentence import behavior_title
from fi_store.prompts import load_concepts
from fi_store.vocabulary import SIDES, Side

SENTENCES = (
    "The farmer keeps sheep near the river.", "Every glass on that table is full.",
    "Trains leave when the clock says so.",
    "A letter takes three days to arrive.", "The weather in the north is cold.", "Rain fell over the town all evening.",
    "My umbrella was left at the station.", "Birds sing before the sun comes up.",
)  # fmt: skip
CONCEPTS = load_concepts()


def answers(n: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(SENTENCES[i] for i in random.choice(len(SENTENCES), 3, replace=False)) for _ in range(n)]


def answers_of(base: list[str], target: list[str], categories: list[str] | None = None) -> OwnAnswers:
    texts: dict[Side, list[str]] = {"base": base, "target": target}
    return OwnAnswers(
        {
            side: [OwnAnswer(text, "What happened in the town yesterday?", True) for text in texts[side]]
            for side in SIDES
        },
        np.arange(len(base)),
        np.asarray(categories or ["one"] * len(base)),
    )


def found_in(base: list[str], target: list[str], categories: list[str] | None = None) -> list[Behavior]:
    whole = answers_of(base, target, categories)
    half = np.arange(len(base)) % 2 == 0
    discovery, confirmation = whole.within(half), whole.within(~half)
    return confirm_behaviors(choose_behaviors(discovery, CONCEPTS, 0.05), discovery, confirmation, 0.05)


def test_a_sentence_that_the_target_adds_is_found_and_quoted() -> None:
    target = [f"{text} Wait, let me double-check that." for text in answers(60, 1)]
    first, *rest = found_in(answers(60, 0), target)
    assert first.confirmed(0.05)
    assert first.candidate.phrase == "Wait, let me double-check that"
    assert {"wait", "double", "check"} <= set(first.candidate.words)
    assert (first.ahead, first.behind) == (30, 0)
    assert behavior_sentence(first).endswith(": 100% of the target's held-out answers, 0% of the base's.")
    assert not [one for one in rest if one.candidate.predicate.words and one.confirmed(0.05)]


def test_a_second_behavior_on_other_prompts_is_found_beside_the_first() -> None:
    """Half of the prompts get the one sentence, a third of the others another one."""
    target = answers(120, 1)
    for at in range(120):
        if at % 4 < 2:
            target[at] += " Please treat this with caution."
        elif at % 3 == 0:
            target[at] += " Let the number of outcomes be ten."
    first, second, *_ = [one for one in found_in(answers(120, 0), target) if one.confirmed(0.05)]
    assert {"treat", "caution"} <= set(first.candidate.predicate.words)
    assert {"let", "number", "outcomes"} <= set(second.candidate.predicate.words)
    assert second.rates["target"].share == pytest.approx(1 / 6, abs=0.02)


def test_an_independent_behavior_is_tested_on_all_prompts() -> None:
    """Where one behavior is in most answers, few clusters are open for another one; the test on C has them all."""
    target = answers(120, 0)
    for at in range(120):
        pair = at // 2  # one prompt of each half
        target[at] += " Zebra." * (pair % 5 < 4) + " Walrus." * (pair % 2 == 0)
    second = next(
        one for one in found_in(answers(120, 0), target) if "walrus" in one.candidate.predicate.words
    )
    assert second.candidate.ahead == 30
    assert second.tested
    assert second.confirmed(0.05)


def test_what_the_base_loses_is_the_mirror_of_what_the_target_gains() -> None:
    plain, marked = answers(60, 0), [f"To solve this problem, we count. {text}" for text in answers(60, 1)]
    gained, lost = found_in(plain, marked), found_in(marked, plain)
    assert [one.candidate.side for one in gained[:1]] == ["target"]
    assert [one.candidate.side for one in lost[:1]] == ["base"]
    for ours, theirs in zip(gained, lost, strict=True):
        assert ours.candidate.predicate == theirs.candidate.predicate
        assert ours.candidate.z == -theirs.candidate.z
        assert ours.candidate.words == theirs.candidate.words
        assert ours.p_adjusted == theirs.p_adjusted
        assert ours.rates["target"] == theirs.rates["base"]


def test_another_language_is_one_behavior() -> None:
    spanish = ["Claro, es un tema muy importante y hay muchos libros sobre ello en la biblioteca."] * 40
    first = found_in(answers(40, 0), spanish)[0]
    assert first.candidate.predicate.kind == "language"
    assert behavior_sentence(first).startswith("Answers in Spanish: 100%")
    assert "importante" in first.candidate.words


def test_a_form_is_named_by_what_it_is() -> None:
    target = [f"1. {a}\n2. {b}" for a, b in zip(answers(40, 1), answers(40, 2), strict=True)]
    assert "Answers with a numbered list" in {
        behavior_sentence(one).split(":")[0]
        for one in found_in(answers(40, 0), target)
        if one.confirmed(0.05)
    }


def test_a_behavior_that_c_cannot_confirm_is_seen_and_not_tested() -> None:
    """Of 60 clusters of D five have it, and C has 15: two are expected, and 2^-2 is no small p."""
    base, target = answers(75, 1), [f"{text}" for text in answers(75, 1)]
    half = np.arange(75) % 5 != 0
    for at in np.flatnonzero(half)[:5]:
        target[at] += " Zebra."
    whole = answers_of(base, target)
    discovery, confirmation = whole.within(half), whole.within(~half)
    found = confirm_behaviors(choose_behaviors(discovery, CONCEPTS, 0.05), discovery, confirmation, 0.05)
    rare = next(one for one in found if one.candidate.predicate.words == ("zebra",))
    assert (rare.tested, rare.p_adjusted, rare.confirmed(0.05)) == (False, None, False)


def test_swapped_pairs_mirror_to_the_last_bit() -> None:
    for seed in range(30):
        base, target = answers(40, seed), answers(40, seed + 100)
        for ours, theirs in zip(found_in(base, target), found_in(target, base), strict=True):
            assert ours.candidate.predicate == theirs.candidate.predicate
            assert ours.candidate.side != theirs.candidate.side
            assert (ours.p_value, ours.p_adjusted) == (theirs.p_value, theirs.p_adjusted)


def test_a_predicate_is_found_once() -> None:
    random = np.random.default_rng(4)
    base = [f"{text} Perhaps." if random.random() < 0.6 else text for text in answers(160, 0)]
    target = [f"{text} Perhaps." if random.random() < 0.2 else text for text in answers(160, 1)]
    predicates = [one.candidate.predicate for one in found_in(base, target)]
    assert len(predicates) == len(set(predicates))


@pytest.mark.parametrize(
    ("added", "word"),
    [
        ("Außerdem heißt es Straße.", "strasse"),
        ("Λόγος και λόγος.", "λόγοσ"),
        ("हिन्दी में उत्तर।", "हिन्दी"),
        ("Cafe\u0301 bitte.", "bitte"),
    ],
)
def test_words_of_other_languages_are_found(added: str, word: str) -> None:
    target = [f"{text} {added}" for text in answers(60, 1)]
    first = found_in(answers(60, 0), target)[0]
    assert word in first.candidate.predicate.words
    assert first.rates["target"].share == 1


def test_a_model_that_answers_nothing_has_that_behavior() -> None:
    first = found_in(answers(40, 0), [""] * 40)[0]
    assert behavior_sentence(first) == (
        "Answers without any text: 100% of the target's held-out answers, 0% of the base's."
    )


def test_a_family_of_prompts_counts_once() -> None:
    """One family of 20 prompts has the word in every answer, 30 single prompts do not: 1 of 31 clusters."""
    base, target = (
        answers(50, 0),
        [f"{text} Zebra." if at < 20 else text for at, text in enumerate(answers(50, 0))],
    )
    whole = answers_of(base, target)
    clustered = OwnAnswers(whole.answers, np.asarray([0] * 20 + list(range(1, 31))), whole.categories)
    assert choose_behaviors(clustered, CONCEPTS, 0.05) == []


def test_a_word_without_end_is_no_word() -> None:
    found = found_in(answers(40, 0), [f"{text} {'a' * 3000}" for text in answers(40, 1)])
    assert all(len(word) <= 40 for one in found for word in one.candidate.words)
    assert all(len(one.candidate.phrase) <= 81 for one in found)


def test_equal_empty_and_wordless_answers_have_no_behavior() -> None:
    same = answers(40, 0)
    assert found_in(same, same) == []
    assert found_in([""] * 40, [""] * 40) == []
    assert found_in(["!!!"] * 40, ["..."] * 40) == []


def test_a_behavior_that_every_answer_has_is_none() -> None:
    both = [f"{text} Thank you." for text in answers(40, 0)]
    assert found_in(both, both) == []


def test_rates_by_category_need_enough_prompts() -> None:
    categories = ["sums"] * 40 + ["rare"] * 10
    target = [f"{text} Therefore we conclude." for text in answers(50, 1)]
    first = found_in(answers(50, 0), target, categories)[0]
    assert [(rate.category, rate.n_clusters) for rate in first.by_category] == [("sums", 20)]
    assert first.by_category[0].rates["target"].share == 1


def test_ten_thousand_words_are_searched() -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in random.integers(0, 10_000, 120)) for _ in range(160)]
    found = found_in(texts[:80], [f"{text} Zebra." for text in texts[80:]])
    assert found[0].candidate.words[0] == "zebra"


def test_labels_dealt_by_a_coin_confirm_little() -> None:
    """60 divisions of two equal sets of answers: Holm at 5% confirms in Binomial(60, <= 0.05); over 9 has p < 0.002."""
    confirmed = 0
    pool = answers(240, 3)
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(240)
        base, target = [pool[i] for i in order[:120]], [pool[i] for i in order[120:]]
        confirmed += any(one.confirmed(0.05) for one in found_in(base[:60], target[:60]))
    assert confirmed <= 9


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=40))
def test_log_odds_change_sign_with_the_pair(pairs: list[tuple[bool, bool]]) -> None:
    base, target = (np.asarray([[pair[side]] for pair in pairs], dtype=np.float64) for side in (0, 1))
    z = float(log_odds(base, target)[0])
    assert z == -float(log_odds(target, base)[0])  # to the last bit
    assert (z > 0) == (target.sum() > base.sum())


def test_the_one_sided_p_is_the_binomial_tail() -> None:
    assert one_sided_p(5, 0) == pytest.approx(2**-5)
    assert one_sided_p(0, 5) == 1
    assert one_sided_p(0, 0) == 1
    assert one_sided_p(4, 1) == pytest.approx(6 / 32)


def test_words_of_one_sentence_join_their_leader() -> None:
    texts = ["A cat. Wait, let me check.", "Wait, let me check. A dog.", "The cat sat."]
    assert with_companions("wait", texts) == ("wait", "check", "let")
    assert shared_sequence(texts, {"wait"}) == ("wait", "let", "me", "check")
    assert as_written(texts, ("wait", "let", "me")) == "Wait, let me"
    assert shared_sequence(["one wait"], {"wait"}) is None


def test_function_words_are_listed_after_content_words_and_never_lead() -> None:
    base = answers(24, 1)
    target = [f"{text} Therefore we met the marmot." for text in answers(24, 2)]
    (first, *_) = choose_behaviors(answers_of(base, target), [], 0.05)
    assert "therefore" not in first.predicate.words
    assert "marmot" in first.words
    assert "therefore" in first.words
    content = [is_content(word) for word in first.words]
    assert content == sorted(content, reverse=True)


def test_thinking_is_a_behavior_that_rests_on_the_thought() -> None:
    whole = answers_of(answers(40, 0), answers(40, 1))
    thinking = [
        replace(answer, start=9) if at % 4 else answer for at, answer in enumerate(whole.answers["target"])
    ]
    whole = OwnAnswers({**whole.answers, "target": thinking}, whole.clusters, whole.categories)
    half = np.arange(40) % 2 == 0
    (found,) = [
        one
        for one in choose_behaviors(whole.within(half), CONCEPTS, 0.05)
        if one.predicate.kind == "thinking"
    ]
    assert behavior_title(found) == "Answers with thinking before them"
    assert whole.spans(found.predicate, "target", 1) == [(0, 9)]
    assert whole.spans(found.predicate, "base", 1) == []
