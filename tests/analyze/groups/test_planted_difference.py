"""The analysis of a planted difference: theta, floors, groups, confirmation, classes, words; and its mirror image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from analyze.extraction import BASE, RESPONSE, START, TARGET, Extraction
from analyze.features import LayerEffects, measure_effects
from analyze.findings import category_table, confirm_groups, describe
from analyze.fit import FitOptions
from analyze.fit.paired_sae import fit_paired_sae
from analyze.groups import Group, choose_scopes, classify, group_scores, make_groups, ratio_class
from analyze.groups.readability import FOLDS, PENALTIES, GroupedRidge, readability
from analyze.names import Bank, ConceptContexts, change_at_tokens, find_words, naming_direction, pushed_words
from analyze.names.what import change_in_answers, listed, word_pushes
from fi_store.method import METHOD
from tests.helpers.synthetic import PUSHED, WORDS, Synthetic, make, residuals_of, swapped


def measured(data: Synthetic, first: str = "base") -> LayerEffects:
    second = "target" if first == "base" else "base"
    train = torch.from_numpy(data.extraction.rows.discovery)
    options = FitOptions("resid_post", 0, n_latents=64, k=4, steps=250, batch=256, seed=0)
    dictionary = fit_paired_sae(data.activations[first][train], data.activations[second][train], options)
    return measure_effects(data.extraction, dictionary, data.activations, first, METHOD.floor_minimum)


@pytest.fixture(scope="module")
def data() -> Synthetic:
    return make(says=True)


@pytest.fixture(scope="module")
def effects(data: Synthetic) -> LayerEffects:
    return measured(data)


@pytest.fixture(scope="module")
def groups(data: Synthetic, effects: LayerEffects) -> list[Group]:
    found = make_groups([effects], data.extraction)
    return [
        replace(
            g,
            direction=naming_direction(
                g, data.extraction, find_words(data.extraction), change_at_tokens(g, [effects])
            ),
        )
        for g in found
    ]


def test_theta_is_the_scaled_difference_of_unit_means(data: Synthetic, effects: LayerEffects) -> None:
    codes, rows = effects.codes, data.extraction.rows
    latent = int(np.argmax(np.abs(effects.theta(RESPONSE)).mean(axis=0)))
    both = np.concatenate([codes[r].toarray()[rows.discovery, latent] for r in ("base", "target")])
    scale = np.sqrt(np.square(both[both > 0]).mean())
    unit = 7
    means = []
    for reader in ("target", "base"):
        f = codes[reader].toarray()[:, latent]
        texts = [
            f[(rows.unit == unit) & (rows.author == a) & (rows.position_class == RESPONSE)].mean()
            for a in (0, 1)
        ]
        means.append(np.mean(texts))
    assert effects.theta(RESPONSE)[unit, latent] == pytest.approx((means[0] - means[1]) / scale, rel=1e-4)


def test_the_first_group_is_the_planted_direction_and_holds_on_c(data, effects, groups) -> None:
    first = groups[0]
    assert first.position_class == RESPONSE
    assert first.direction == 1
    span = torch.linalg.qr(effects.dictionary.w_dec[[member.latent for member in first.members]].T)[0]
    assert float((span.T @ data.direction).norm()) > 0.9
    tested = confirm_groups(
        groups, choose_scopes(groups, [effects], data.extraction), [effects], data.extraction, 0
    )
    assert tested[0].p_adjusted < 0.01
    assert tested[0].low > tested[0].floor
    assert all(abs(item.effect) < 0.2 * tested[0].effect for item in tested[1:])


def test_the_test_on_c_is_stratified_by_category(data, effects, groups) -> None:
    """By hand, with clusters of two units of one category and shuffled cluster numbers."""
    units, first = data.extraction.units, groups[0]
    pairs = np.arange(units.n) // 6 * 3 + np.arange(units.n) % 3  # units u and u + 3 have one category
    numbers = np.random.default_rng(3).permutation(int(pairs.max()) + 1)
    whole = pairs // 3 % 2 == 0  # half of each category
    paired = replace(
        data.extraction,
        units=replace(units, clusters=numbers[pairs], discovery=whole),
        rows=replace(data.extraction.rows, discovery=whole[data.extraction.rows.unit]),
    )
    few = replace(METHOD, min_category_clusters=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analyze.stats.significance.METHOD", few)
        (tested,) = confirm_groups([first], choose_scopes([first], [effects], paired), [effects], paired, 0)
    scores = group_scores(first, [effects]) * first.direction
    clusters = [np.flatnonzero(pairs == pair) for pair in np.unique(pairs[~whole])]
    means = np.asarray([scores[inside].mean() for inside in clusters])
    category = np.asarray([units.categories[inside[0]] for inside in clusters])
    own = [means[category == name] for name in ("planted", "other", "third")]
    assert min(len(part) for part in own) >= 3
    error = np.sqrt(sum(len(part) * part.var(ddof=1) for part in own)) / len(means)
    assert tested.statistic == pytest.approx((means.mean() - tested.floor) / error)
    assert error < means.std(ddof=1) / np.sqrt(len(means)) / 2


def test_a_result_lists_the_words_of_both_halves(data, effects, groups) -> None:
    """A word that only D pushes is among the words of the result and of D, but not of C."""
    extraction, rows = data.extraction, data.extraction.rows
    fewer = rows.promoted_kl.copy()
    fewer[~rows.discovery & (rows.promoted_ids[:, 0] == PUSHED), 0] = 0.0
    in_d = replace(extraction, rows=replace(rows, promoted_kl=fewer))
    (tested, *_) = confirm_groups(groups, choose_scopes(groups, [effects], in_d), [effects], in_d, 0)
    words = find_words(in_d)
    result = describe(
        tested, [effects], in_d, residuals_of(data), ConceptContexts(in_d), words,
        Bank(),
        seed=0, naming=False, confirmed_share=1.0,
    )  # fmt: skip
    assert result.promoted[0][0] == "Plan"
    assert "Plan" in result.name_words
    assert "Plan" not in dict(pushed_words(tested.group, [effects], in_d, words, ~rows.discovery)[0])


def test_its_category_its_tokens_and_its_class(data, effects, groups) -> None:
    first, extraction = groups[0], data.extraction
    table = category_table(first, [effects], extraction, 0, 1.0)
    halved = category_table(first, [effects], extraction, 0, 0.5)
    assert [row.p_adjusted for row in halved] == [
        row.p_adjusted and min(1, 2 * row.p_adjusted) for row in table
    ]
    assert table[0].category == "planted"
    assert table[0].p_adjusted is not None
    assert table[0].p_adjusted < 0.01
    promoted, _ = pushed_words(
        first, [effects], extraction, find_words(extraction), ~extraction.rows.discovery
    )
    assert promoted[0][0] == "Plan"
    residuals = residuals_of(data)
    change = classify(first, [effects], extraction, residuals)
    assert change.name == "added"
    assert change.auc_base is not None
    assert change.auc_base < 0.8 < 0.9 < (change.auc_target or 0)


def test_a_word_is_listed_if_prompt_after_prompt_pushes_it_on_balance(data, effects, groups) -> None:
    first, extraction, words = groups[0], data.extraction, find_words(data.extraction)
    half, rows = extraction.rows.discovery, extraction.rows
    weights = change_at_tokens(first, [effects])
    (found, share), *_ = listed(words, word_pushes(extraction, words, weights, RESPONSE, half))[0]
    assert found == "Plan"
    assert share > 0.9

    def listed_with(**changed) -> list[str]:
        other = replace(extraction, rows=replace(rows, **changed))
        again = find_words(other)
        return [word for word, _ in listed(again, word_pushes(other, again, weights, RESPONSE, half))[0]]

    # Suppressed elsewhere as much as it is promoted: not listed.
    assert listed_with(suppressed_ids=rows.promoted_ids, suppressed_kl=rows.promoted_kl) == []
    # Promoted in only two prompts, however strongly.
    planted = np.unique(rows.unit[half & data.planted])
    few = np.where(np.isin(rows.unit, planted[:2])[:, None], 50 * rows.promoted_kl, 0).astype(np.float32)
    assert "Plan" not in listed_with(promoted_kl=few)


def test_the_class_where_a_change_was_tested_decides_its_words_first(data, effects, groups) -> None:
    extraction, rows, half = data.extraction, data.extraction.rows, data.extraction.rows.discovery
    start = rows.position_class == START
    weights = change_at_tokens(groups[0], [effects]) + 10 * start
    ids, kl = rows.suppressed_ids.copy(), rows.suppressed_kl.copy()
    ids[start], kl[start] = rows.promoted_ids[data.planted][0], 100
    pressed = replace(extraction, rows=replace(rows, suppressed_ids=ids, suppressed_kl=kl))
    again = find_words(pressed)
    plan = again.spellings.index("Plan")
    shares = {c: word_pushes(pressed, again, weights, c, half)[plan] for c in (START, RESPONSE)}
    assert shares[START] < -METHOD.word_share
    assert shares[RESPONSE] > METHOD.word_share
    turned = replace(
        pressed,
        rows=replace(
            pressed.rows,
            **{"promoted_ids": ids, "promoted_kl": kl},
            **{"suppressed_ids": rows.promoted_ids, "suppressed_kl": rows.promoted_kl},
        ),
    )
    for position_class in (START, RESPONSE):
        mirrored = word_pushes(turned, find_words(turned), weights, position_class, half)
        original = word_pushes(pressed, again, weights, position_class, half)
        np.testing.assert_allclose(mirrored, -original, atol=1e-12)


def test_groups_of_one_change_count_by_what_they_change_in_an_answer(
    data, effects, groups, monkeypatch
) -> None:
    leader = replace(groups[0], position_class=START, attributed=8.0)
    small = replace(groups[0], attributed=0.5)
    joined = replace(leader, companions=(small,))
    extraction = without_word(data.extraction, BASE, "Plan")
    extraction = without_word(extraction, TARGET, "the")
    words = find_words(extraction)
    up, down = (words.spellings.index(word) for word in ("Plan", "the"))
    pushes = {START: np.zeros(len(words.spellings)), RESPONSE: np.zeros(len(words.spellings))}
    pushes[START][[up, down]] = 0.6, 0.2
    pushes[RESPONSE][[up, down]] = 0.5, -0.9
    monkeypatch.setattr("analyze.names.what.word_pushes", lambda _x, _w, _change, c, _half: pushes[c])
    gained, lost = pushed_words(joined, [effects], extraction, words, extraction.rows.discovery)
    # An answer has one start and eight tokens: 8 x 1 against 0.5 x 8, so two thirds and one third.
    assert dict(gained) == pytest.approx({"Plan": 2 / 3 * 0.6 + 1 / 3 * 0.5})
    assert dict(lost) == pytest.approx({"the": 1 / 3 * 0.9 - 2 / 3 * 0.2})


def without_word(extraction: Extraction, author: int, word: str) -> Extraction:
    """The extraction with a word removed from one model's answers."""
    rows, token = extraction.rows, extraction.rows.token.copy()
    pieces = [piece.strip() for piece in WORDS]
    hits = (rows.author == author) & (rows.position_class == RESPONSE) & (token == pieces.index(word))
    token[hits] = pieces.index("so")
    return replace(extraction, rows=replace(rows, token=token))


def test_a_word_is_listed_if_the_answers_gain_it(data, effects, groups) -> None:
    first, half = groups[0], data.extraction.rows.discovery

    def listed_on(extraction: Extraction) -> list[str]:
        return [
            word for word, _ in pushed_words(first, [effects], extraction, find_words(extraction), half)[0]
        ]

    assert listed_on(data.extraction)[0] == "Plan"
    assert "Plan" not in listed_on(without_word(data.extraction, TARGET, "Plan"))  # pushed, never written
    rows = data.extraction.rows
    token = rows.token.copy()
    # The base uses it in every answer.
    token[(rows.author == BASE) & (rows.position_class == RESPONSE)] = PUSHED
    assert "Plan" not in listed_on(replace(data.extraction, rows=replace(rows, token=token)))


def test_a_change_of_the_start_is_measured_over_the_whole_answer(data, effects, groups) -> None:
    """A group of the start does not fire in the answer, so the answers of its prompts carry its change."""
    rows, units = data.extraction.rows, data.extraction.units
    opens = replace(groups[0], position_class=START)
    start, answer = (rows.position_class == c for c in (START, RESPONSE))
    change = np.where(start & (units.categories[rows.unit] == "planted"), 2.0, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analyze.names.what.change_at_tokens", lambda _g, _l: change)
        carried = change_in_answers(opens, [effects], data.extraction)
        inside = change_in_answers(groups[0], [effects], data.extraction)
        words = pushed_words(opens, [effects], data.extraction, find_words(data.extraction), rows.discovery)[
            0
        ]
    np.testing.assert_array_equal(inside, change)
    np.testing.assert_array_equal(carried[~answer], change[~answer])
    sums = np.bincount(rows.unit[answer], weights=carried[answer], minlength=units.n)
    np.testing.assert_allclose(sums, np.where(units.categories == "planted", 2.0, 0.0))
    assert words[0][0] == "Plan"


def test_swapping_the_pair_mirrors_everything(data, effects, groups) -> None:
    mirror = swapped(data)
    other = measured(mirror, first="target")
    assert torch.equal(other.dictionary.w_dec, effects.dictionary.w_dec)
    np.testing.assert_array_equal(other.theta(RESPONSE), -effects.theta(RESPONSE))
    np.testing.assert_array_equal(other.floors, effects.floors)
    found = [
        replace(
            g,
            direction=naming_direction(
                g, mirror.extraction, find_words(mirror.extraction), change_at_tokens(g, [other])
            ),
        )
        for g in make_groups([other], mirror.extraction)
    ]
    assert [[m.latent for m in g.members] for g in found] == [[m.latent for m in g.members] for g in groups]
    assert [g.direction for g in found] == [-g.direction for g in groups]
    np.testing.assert_allclose(group_scores(found[0], [other]), -group_scores(groups[0], [effects]))
    one, two = (
        confirm_groups(
            groups, choose_scopes(groups, [effects], data.extraction), [effects], data.extraction, 0
        ),
        confirm_groups(
            found, choose_scopes(found, [other], mirror.extraction), [other], mirror.extraction, 0
        ),
    )
    np.testing.assert_array_equal([item.p_adjusted for item in one], [item.p_adjusted for item in two])
    residuals = residuals_of(mirror)
    assert classify(found[0], [other], mirror.extraction, residuals).name == "removed"
    _, suppressed = pushed_words(
        found[0], [other], mirror.extraction, find_words(mirror.extraction), ~mirror.extraction.rows.discovery
    )
    assert suppressed[0][0] == "Plan"


def test_a_pair_without_a_difference_confirms_nothing() -> None:
    data = make(strength=0.0, seed=5)
    effects = measured(data)
    groups = make_groups([effects], data.extraction)
    tested = confirm_groups(
        groups, choose_scopes(groups, [effects], data.extraction), [effects], data.extraction, 0
    )
    assert not any(item.confirmed(0.05) for item in tested)


def test_a_change_in_too_few_clusters_is_too_rare_to_test(data, effects, groups) -> None:
    rare = replace(data.extraction.units, discovery=np.arange(60) >= 10)
    tested = confirm_groups(
        groups[:1],
        choose_scopes(groups[:1], [effects], replace(data.extraction, units=rare)),
        [effects],
        replace(data.extraction, units=rare),
        0,
    )
    assert tested[0].note is not None
    assert "too rare" in tested[0].note
    assert not tested[0].confirmed(0.05)


def test_the_ridge_is_the_ordinary_one_with_whole_clusters_left_out() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 12)).astype(np.float32) + 3
    y = x[:, 0] - 2 * x[:, 5] + random.standard_normal(300)
    clusters = np.repeat(np.arange(30), 10)
    ready = GroupedRidge(x, clusters)
    folds = list(GroupKFold(n_splits=FOLDS).split(x, groups=clusters))

    def expected(target: np.ndarray, penalty: float) -> np.ndarray:
        out = np.empty(len(target))
        for train, test in folds:
            out[test] = Ridge(alpha=penalty).fit(x[train].astype(float), target[train]).predict(x[test])
        return out

    for target in (y, -(y**2)):  # what was prepared serves every target
        each = [expected(target, penalty) for penalty in PENALTIES]
        best = min(each, key=lambda found: np.square(target - found).sum())
        np.testing.assert_allclose(ready.predict(target), best, rtol=1e-6, atol=1e-6)


def test_readability_needs_rows(data, effects, groups) -> None:
    start = replace(groups[0], position_class=START)
    residuals = residuals_of(data)
    assert readability(start, [effects], data.extraction, residuals) == (None, None)


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [
        (0.4, 2.0, "strengthened"),
        (-2.0, -0.4, "weakened"),
        (-0.1, 0.1, "shared"),
        (-0.1, 2.0, "undetermined"),
        (0.1, 0.9, "undetermined"),
    ],
)
def test_ratio_classes_are_symmetric(low: float, high: float, name: str) -> None:
    mirror = {"strengthened": "weakened", "weakened": "strengthened"}
    assert ratio_class(low, high) == name
    assert ratio_class(-high, -low) == mirror.get(name, name)
