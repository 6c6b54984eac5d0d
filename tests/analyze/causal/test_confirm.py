"""The test on C with readings of linear models: shares, ceilings, controls, behaviors, findings, what is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from analyze.causal import Change, Reading, Request, measure_gap
from analyze.extraction import RESPONSE
from analyze.features import other_side
from analyze.groups import Group
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side
from tests.helpers.causal import ALPHA, THRESHOLD, Case, Edit, LinearModels, case_of
from tests.helpers.synthetic import PUSHED, WORDS, make, swapped

if TYPE_CHECKING:  # at run time pytest would take the class for tests
    from analyze.causal import Tests


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case_of(make(n_units=90, says=True, folder=tmp_path_factory.mktemp("gradients")))


@pytest.fixture(scope="module")
def outcome(case: Case) -> Tests:
    return case.test()


@pytest.mark.parametrize("side", SIDES)
def test_the_share_closed_is_a_ratio_of_sums(case: Case, outcome: Tests, side: Side) -> None:
    planted, noise = (each.sides[side] for each in outcome.changes)
    gap = measure_gap(case.data.extraction).total[case.plan.units]
    rows, patch = case.data.extraction.rows, case.plan.changes[0].tested
    slopes = LinearModels(case.data).slopes[side]
    nats = np.zeros(rows.n)
    nats[patch.rows] = (slopes[patch.rows] * patch.vectors).sum(axis=1)
    by_unit = np.bincount(rows.unit, weights=nats, minlength=case.data.extraction.units.n)
    np.testing.assert_allclose(planted.closed.nats, by_unit[case.plan.units], atol=1e-6)
    assert planted.closed.share == pytest.approx(by_unit[case.plan.units].sum() / gap.sum(), rel=1e-6)
    assert planted.closed.share == pytest.approx(1, abs=0.1)
    assert planted.closed.low <= planted.closed.share <= planted.closed.high
    # In linear models attribution is exact.
    assert planted.closed.attributed == pytest.approx(planted.closed.share, rel=1e-3)
    assert abs(noise.closed.share) < 0.05


@pytest.mark.parametrize("side", SIDES)
def test_the_ceiling_and_the_control_stand_beside_it(outcome: Tests, case: Case, side: Side) -> None:
    planted = outcome.changes[0].sides[side]
    assert planted.ceiling is not None
    assert planted.ceiling.patch.kind == "whole"
    assert planted.ceiling.share == pytest.approx(1, abs=0.15)
    assert planted.control is not None
    assert abs(planted.control.share) < 0.3
    excess = planted.closed.nats - planted.control.nats
    gap = measure_gap(case.data.extraction).total[case.plan.units]
    assert planted.above_control < excess.sum() / gap.sum()
    assert planted.above_control > 0.5


def test_p_values_are_corrected_over_changes_and_sides(outcome: Tests) -> None:
    p = sorted(
        (test.p_value, test.p_adjusted) for change in outcome.changes for test in change.sides.values()
    )
    assert [value for value, _ in p[:2]] == [0.001, 0.001]
    assert [value for _, value in p[:2]] == pytest.approx([0.004, 0.004])
    assert all(adjusted >= value for value, adjusted in p)


def test_the_share_of_a_behavior_by_hand(case: Case, outcome: Tests) -> None:
    extraction = case.data.extraction
    answers = extraction.units.answers
    closed = gap = 0.0
    n = 0
    rows, patch = extraction.rows, case.plan.changes[0].tested
    for unit in case.plan.units:
        if "Plan" in answers["target"][unit] and "Plan" not in answers["base"][unit]:
            n += 1
            own = np.flatnonzero((rows.unit == unit) & (rows.author == 1) & (rows.position_class == RESPONSE))
            tokens = rows.token[own]
            joined = np.append(tokens[1:] == WORDS.index("the"), False)  # "Planthe" is another word
            spans = np.append((tokens == PUSHED) & ~joined, False)  # the end mark is none
            read = {side: extraction.answers[unit, "target", side].logprobs[spans].sum() for side in SIDES}
            gap += read["target"] - read["base"]
            before = own[np.flatnonzero(spans) - 1]  # the rows that decide these tokens
            here = np.isin(patch.rows, before)
            slopes = LinearModels(case.data).slopes["target"][patch.rows[here]]
            closed += float((slopes * patch.vectors[here]).sum()) * 18
    (part,) = outcome.changes[0].sides["target"].behaviors
    assert (part.behavior, part.side, part.n_units) == (0, "target", n)
    assert n >= METHOD.behavior_clusters
    assert part.share == pytest.approx(closed / gap, rel=1e-5)
    assert part.low <= part.share <= part.high
    assert part.bounded


def test_only_the_planted_change_is_a_finding(outcome: Tests) -> None:
    assert [found.number for found in outcome.findings] == [0]
    assert outcome.changes[0].finding_side == "target"  # that of its behavior, though both pass
    assert outcome.changes[1].best.p_adjusted > ALPHA


def test_a_finding_needs_every_condition(outcome: Tests) -> None:
    side = outcome.changes[0].sides["target"]
    assert side.passes(None, ALPHA, THRESHOLD)
    assert not replace(side, p_adjusted=0.06).passes(None, ALPHA, THRESHOLD)
    assert not replace(side, above_control=0.0).passes(None, ALPHA, THRESHOLD)
    weak = replace(side, closed=replace(side.closed, share=0.02))
    assert not weak.passes(None, ALPHA, THRESHOLD)
    assert weak.passes(0, ALPHA, THRESHOLD)  # it carries its behavior
    part = side.behaviors[0]
    for few in (replace(part, share=0.19), replace(part, low=-0.01), replace(part, behavior=3)):
        assert not replace(weak, behaviors=(few,)).passes(0, ALPHA, THRESHOLD)
    small = replace(side, closed=replace(side.closed, nats=side.closed.nats * 0.01))
    assert not small.passes(None, ALPHA, THRESHOLD)


def test_what_a_change_adds_to_those_before_it(outcome: Tests, case: Case) -> None:
    first, second = outcome.changes
    together = [outcome.cumulative(number, first.best.closed.side) for number in (0, 1)]
    assert together[0] is not None
    assert together[1] is not None
    assert first.adds == pytest.approx(together[0].share, rel=0.01)  # on some of the prompts
    assert second.adds is not None
    side = second.best.closed.side
    added = outcome.cumulative(1, side), outcome.cumulative(0, side)
    assert added[0] is not None
    assert added[1] is not None
    assert second.adds == pytest.approx(added[0].share - added[1].share, abs=0.01)
    assert abs(second.adds) < 0.05
    # A change without features at that layer adds an amount that nobody measured.
    plan = replace(case.plan, cumulative=(case.plan.cumulative[0], case.plan.cumulative[0]))
    assert [each.adds is None for each in case.test(plan=plan).changes] == [False, True]
    late = replace(case.plan, cumulative=(None, case.plan.cumulative[1]))
    assert [each.adds is None for each in case.test(plan=late).changes] == [True, False]


def test_a_reading_that_failed_leaves_out_what_rests_on_it(case: Case) -> None:
    def without(kind: str, side: Side | None = None) -> Edit:
        def edit(request: Request, reading: Reading) -> Reading | None:
            mine = (request.patch.kind if request.patch else "none") == kind
            return None if mine and side in (None, request.side) else reading

        return edit

    assert case.test(without("none")).changes == ()
    assert case.test(without("change")).changes == ()
    one = case.test(without("change", "target")).changes
    assert [list(each.sides) for each in one] == [["base"], ["base"]]
    assert one[0].finding_side == "base"
    no_ceiling = case.test(without("whole")).changes[0].best
    assert no_ceiling.ceiling is None
    no_control = case.test(without("control")).changes[0].best
    assert no_control.control is None
    assert no_control.above_control == pytest.approx(no_control.closed.low)
    alone = case.test(without("cumulative"))
    assert [each.adds is None for each in alone.changes] == [False, True]
    assert alone.cumulative(1, "target") is None


def test_a_prompt_that_was_not_read_leaves_out_the_arm(case: Case) -> None:
    lost = int(case.plan.units[3])

    def edit(request: Request, reading: Reading) -> Reading:
        if request.patch is None or request.patch.kind != "change" or request.side == "base":
            return reading
        kept = {key: values for key, values in reading.logprobs.items() if key != (lost, "base")}
        return replace(reading, logprobs=kept)

    assert [list(each.sides) for each in case.test(edit).changes] == [["base"], ["base"]]


def test_without_gradients_the_prompts_give_the_p_value(case: Case) -> None:
    """No controls can be scored; a patch that closes nothing anywhere has p = 1 and is no finding."""
    plan = replace(
        case.plan,
        changes=tuple(replace(each, controls=None, control_patches={}) for each in case.plan.changes),
    )
    readings = case.readings()
    planted, noise = case.confirmer(readings, plan).test(ALPHA, THRESHOLD).changes
    assert planted.best.p_value < 0.01
    assert planted.best.closed.attributed is None
    assert planted.finding_side is not None
    assert noise.finding_side is None
    clean = {side: readings[case.plan.requests[None, side]] for side in SIDES}
    nothing = {request: clean[request.side] for request in readings}
    found = case.confirmer(nothing, plan).test(ALPHA, THRESHOLD)
    assert [test.p_value for each in found.changes for test in each.sides.values()] == [1.0] * 4
    assert found.findings == []


def test_without_behaviors_nothing_is_missing(case: Case) -> None:
    alone = replace(case, behaviors=[], changes=[])
    plan = replace(
        case.plan,
        changes=tuple(
            replace(each, change=replace(each.change, behavior=None)) for each in case.plan.changes
        ),
    )
    found = alone.confirmer(case.readings(), plan).test(ALPHA, THRESHOLD)
    assert found.changes[0].best.behaviors == ()
    assert found.changes[0].finding_side == max(
        SIDES, key=lambda side: found.changes[0].sides[side].closed.share
    )


def test_the_best_later_layer_is_told(case: Case, outcome: Tests) -> None:
    planned = case.plan.changes[0]
    patch = planned.tested
    later = [
        replace(
            patch, effects=replace(patch.effects, layer=layer), coefficients=patch.coefficients[:] * times
        )
        for layer, times in ((5, 1.2), (9, 1.5), (11, 0.5))
    ]
    patches = {0: patch, **dict(enumerate(later, start=1))}
    change = Change(planned.change.groups + tuple(_at(planned.change.leader, n) for n in (1, 2, 3)), 0)
    plan = replace(
        case.plan, changes=(replace(planned, change=change, patches=patches), case.plan.changes[1])
    )
    wide = replace(case, plan=plan)
    found = wide.test().changes[0]
    assert found.later is not None
    assert found.later.layer == 9
    assert found.later.share == pytest.approx(1.5 * found.best.closed.share, rel=0.01)
    assert outcome.changes[0].later is None


def _at(group: Group, index: int) -> Group:
    return replace(group, index=index, share=group.share / 10)


def test_swapping_the_pair_mirrors_the_test(case: Case, outcome: Tests) -> None:
    mirror = case_of(swapped(case.data), "target")
    found = mirror.test()
    for one, two in zip(outcome.changes, found.changes, strict=True):
        assert one.finding_side is None or two.finding_side == other_side(one.finding_side)
        for side in SIDES:
            mine, theirs = one.sides[side], two.sides[other_side(side)]
            assert theirs.closed.share == pytest.approx(mine.closed.share, rel=1e-5)
            assert theirs.closed.low == pytest.approx(mine.closed.low, rel=1e-5)
            assert theirs.above_control == pytest.approx(mine.above_control, rel=1e-4)
            assert (theirs.p_value, theirs.p_adjusted) == (mine.p_value, mine.p_adjusted)
            assert [part.share for part in theirs.behaviors] == pytest.approx(
                [part.share for part in mine.behaviors], rel=1e-5
            )


def test_a_gap_of_zero_on_c_makes_no_finding(case: Case) -> None:
    same = {
        (u, a, r): replace(tokens, logprobs=np.full_like(tokens.logprobs, -1.0))
        for (u, a, r), tokens in case.data.extraction.answers.items()
    }
    equal = replace(case.data, extraction=replace(case.data.extraction, answers=same))
    assert replace(case, data=equal).test().findings == []


def test_a_change_without_a_behavior_must_pass_on_both_sides(case: Case, outcome: Tests) -> None:
    """One side is enough for a change that goes with a behavior."""
    planned, tests = outcome.changes[0].planned, dict(outcome.changes[0].sides)
    assert all(test.passes(None, ALPHA, THRESHOLD) for test in tests.values())
    confirmer = case.confirmer(case.readings())
    free = replace(planned, change=replace(planned.change, behavior=None))
    assert confirmer._finding_side(free, tests, ALPHA, THRESHOLD) is not None
    tests["base"] = replace(tests["base"], p_adjusted=0.5)
    assert confirmer._finding_side(free, tests, ALPHA, THRESHOLD) is None
    owned = replace(planned, change=replace(planned.change, behavior=0))
    assert confirmer._finding_side(owned, tests, ALPHA, THRESHOLD) == "target"
