"""What is told of findings: their order and repeats, how much all explain, class, words, categories, examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.behaviors import Behavior, answers_of, confirm_behaviors
from analyze.behaviors.confirm import Rate
from analyze.causal import BehaviorPart, Probes, measure_gap
from analyze.causes import CausalTest
from analyze.examples import EXAMPLES
from analyze.findings import (
    Describer,
    Explained,
    Finding,
    behavior_change,
    explained_share,
    ordered,
)
from analyze.fitting import Fitted
from analyze.names import ConceptContexts, find_words
from analyze.write.findings import example_rows, finding_row, name_rows
from fi_store.config import make_config
from fi_store.store import Store
from fi_store.vocabulary import SIDES, Side
from tests.helpers.causal import PLAN, LinearModels, candidate, exact_effects
from tests.helpers.synthetic import Synthetic, make, residuals_of, swapped

if TYPE_CHECKING:  # at run time pytest would take these classes for tests
    from analyze.causal import TestedChange, Tests


@dataclass
class Told:
    """A whole causal test and its findings."""

    data: Synthetic
    outcome: Tests
    findings: list[Finding]
    describer: Describer


def told(data: Synthetic, first: Side, store: Store) -> Told:
    models = LinearModels(data)
    side: Side = "target" if first == "base" else "base"
    config = make_config(base_model="a", target_model="b", candidates=3)
    test = CausalTest(
        run_id="run",
        config=config,
        extraction=data.extraction,
        fitted=Fitted([exact_effects(data, first)], residuals_of(data)),
        gap=measure_gap(data.extraction),
        behaviors=[candidate(PLAN, side)],
        answers=answers_of(data.extraction.units),
        probes=Probes(store, "run", data.extraction, lambda: models.answer(store)),
    )
    outcome = test.confirm(test.plan(test.changes()))
    discovery = data.extraction.units.discovery
    behaviors = confirm_behaviors(
        test.behaviors, test.answers.within(discovery), test.answers.within(~discovery), config.alpha
    )
    describer = Describer(
        tests=outcome,
        behaviors=behaviors,
        extraction=data.extraction,
        residuals=test.fitted.residuals,
        layers=test.fitted.layers,
        words=find_words(data.extraction, data.extraction.token_text),
        contexts=ConceptContexts(data.extraction),
        predicates=[],
        config=config,
    )
    findings = [
        describer.describe(each, repeats, None)
        for each, repeats in ordered(outcome, config.feature_threshold)
    ]
    return Told(data, outcome, findings, describer)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Told:
    data = make(n_units=90, says=True, folder=tmp_path_factory.mktemp("gradients"))
    with Store.open(tmp_path_factory.mktemp("one") / "fi-store.duckdb", create=True) as store:
        return told(data, "base", store)


def test_the_finding_is_described(case: Told) -> None:
    (finding,) = case.findings
    assert finding.promoted[0] == "Plan"
    assert finding.suppressed == ["the"]
    assert finding.pushed_on_d[0] == "Plan"
    assert finding.words[0].casefold() == "plan"
    assert finding.inside.name == "added"
    assert finding.categories[0].category == "planted"
    assert finding.strongest_category == "planted"
    claim = finding.claim
    assert (claim.side, claim.layer, claim.classes) == ("target", 0, ["response"])
    assert claim.n_units == (~case.data.extraction.units.discovery).sum()
    assert claim.ceiling == pytest.approx(1, abs=0.15)
    assert finding.groups[0] is finding.leader


def test_without_naming_nothing_says_when_it_acts(case: Told) -> None:
    named, unnamed = (
        replace(case.describer, config=case.describer.config.model_copy(update={"skip_naming": skip}))
        for skip in (False, True)
    )
    tested = case.findings[0].tested
    assert named.describe(tested, (), None).names
    assert unnamed.describe(tested, (), None).names == []


def test_the_contrast_of_a_category_is_what_it_closes_more(case: Told) -> None:
    (finding,) = case.findings
    units = case.data.extraction.units
    categories = units.categories[~units.discovery]
    nats = finding.tested.best.closed.nats
    inside = categories == "planted"
    found = finding.categories[0]
    assert found.contrast == pytest.approx(nats[inside].mean() - nats[~inside].mean())
    assert found.low <= found.contrast <= found.high
    assert found.n_units == inside.sum()


def test_the_class_inside_is_that_of_the_layers_as_measured_on_c(case: Told) -> None:
    """Latent scaling is known only after C was opened, so the groups of D do not have it."""
    (effects,) = case.describer.layers
    both = {key: effects.means["base", key[1]] for key in effects.means}
    again = replace(case.describer, layers=[replace(effects, means=both)])
    assert again.describe(case.findings[0].tested, (), None).inside.name == "shared"


def test_one_category_has_no_contrast(case: Told) -> None:
    units = replace(case.data.extraction.units, categories=np.asarray(["one"] * 90))
    alone = replace(case.describer, extraction=replace(case.data.extraction, units=units))
    finding = alone.describe(case.findings[0].tested, (), None)
    assert finding.categories == []
    assert finding.strongest_category is None


def test_examples_are_where_it_acts_on_c(case: Told) -> None:
    (finding,) = case.findings
    units = case.data.extraction.units
    assert len(finding.examples) == EXAMPLES
    for example in finding.examples:
        assert not units.discovery[example.unit]
        assert units.categories[example.unit] == "planted"
        assert example.value_target > example.value_base
        assert example.before + example.token + example.after
        assert example.author in SIDES
        text = units.answers[example.author][example.unit]
        assert example.token + example.after in text


def test_rows_of_the_store(case: Told) -> None:
    (finding,) = case.findings
    clusters = case.data.extraction.units.clusters[case.outcome.units]
    row = finding_row("run", 1, finding, 1, clusters)
    assert row["ci_low"] < row["effect"] < row["ci_high"]
    assert (row["change"], row["side"], row["layer"]) == (finding.change, "target", 0)
    # Prompts of one family are no independent evidence.
    pairs = finding_row("run", 1, finding, 1, np.arange(len(clusters)) // 4)
    assert pairs["effect"] == row["effect"]
    assert (pairs["ci_low"], pairs["ci_high"]) != (row["ci_low"], row["ci_high"])
    assert len(example_rows("run", finding, case.data.extraction)) == EXAMPLES
    assert all(each["run_id"] == "run" for each in name_rows("run", finding))


def test_swapping_the_pair_mirrors_what_is_told(case: Told, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Store.open(tmp_path_factory.mktemp("two") / "fi-store.duckdb", create=True) as store:
        other = told(swapped(case.data), "target", store)
    (one,), (two,) = case.findings, other.findings
    assert two.promoted == one.suppressed
    assert two.suppressed == one.promoted
    assert two.pushed_on_d == one.pushed_on_d
    assert (one.inside.name, two.inside.name) == ("added", "removed")
    assert two.triggers == one.triggers
    assert [each.category for each in two.categories] == [each.category for each in one.categories]
    assert two.claim.share[0] == pytest.approx(one.claim.share[0], rel=1e-5)
    assert {one.claim.side, two.claim.side} == set(SIDES)
    assert [(e.unit, e.token, e.after) for e in two.examples] == [
        (e.unit, e.token, e.after) for e in one.examples
    ]
    mirror = {"added": "removed", "strengthened": "weakened"}
    assert two.change == mirror[one.change]


def test_a_behavior_is_told_only_if_c_shows_that_the_change_carries_it(case: Told) -> None:
    tested = case.findings[0].tested
    side = tested.best.closed.side
    part = BehaviorPart(0, side, 0.5, 0.3, 0.7, 20)

    def told_with(
        *parts: BehaviorPart, behavior: int | None = 0, other: tuple[BehaviorPart, ...] = ()
    ) -> Behavior | None:
        change = replace(tested.planned.change, behavior=behavior)
        sides = {each: replace(test, behaviors=other) for each, test in tested.sides.items()}
        sides[side] = replace(sides[side], behaviors=parts)
        changed = replace(tested, planned=replace(tested.planned, change=change), sides=sides)
        finding = case.describer.describe(changed, (), None)
        assert (finding.claim.share_behavior is None) == (finding.behavior is None)
        return finding.behavior

    assert told_with(part) is case.describer.behaviors[0]
    assert told_with(replace(part, low=-0.1)) is None
    assert told_with(replace(part, high=np.inf)) is None
    assert told_with(replace(part, low=-0.1), other=(part,)) is case.describer.behaviors[0]
    assert told_with() is None
    assert told_with(part, behavior=None) is None


def changed(
    outcome: Tests, shares: Sequence[float], adds: Sequence[float | None], behaviors: Sequence[int | None]
) -> Tests:
    """Findings as the first one, with these shares of behavior 0, and behaviors of their own."""
    first = outcome.changes[0]
    side = first.best.closed.side
    made: list[TestedChange] = []
    for number, (share, added, behavior) in enumerate(zip(shares, adds, behaviors, strict=True)):
        part = BehaviorPart(0, side, share, 0.1, 0.9, 20)
        change = replace(first.planned.change, behavior=behavior)
        made.append(
            replace(
                first,
                number=number,
                planned=replace(first.planned, change=change),
                sides={side: replace(first.best, behaviors=(part,))},
                finding_side=side,
                adds=added,
            )
        )
    return replace(outcome, changes=tuple(made), together=(outcome.together[0],) * len(made))


def numbers(outcome: Tests) -> list[tuple[int, list[int]]]:
    return [(each.number, [other.number for other in repeats]) for each, repeats in ordered(outcome, 0.03)]


def test_a_finding_that_adds_too_little_repeats_an_earlier_one(case: Told) -> None:
    outcome = case.outcome
    assert numbers(changed(outcome, [0.5, 0.4], [0.3, 0.01], [0, 0])) == [(0, [1])]
    assert numbers(changed(outcome, [0.5, 0.4], [0.3, 0.05], [0, 0])) == [(0, []), (1, [])]
    # The earlier one does not carry its behavior; or what it adds is unknown.
    assert numbers(changed(outcome, [0.1, 0.4], [0.3, 0.01], [1, 0])) == [(0, []), (1, [])]
    assert numbers(changed(outcome, [0.5, 0.4], [0.3, None], [0, 0])) == [(0, []), (1, [])]
    # Without a behavior the first is repeated, with one that which carries most of it.
    assert numbers(changed(outcome, [0.5, 0.4], [0.3, 0.01], [0, None])) == [(0, [1])]
    three = changed(outcome, [0.3, 0.6, 0.4], [0.3, 0.2, 0.0], [1, 2, 0])
    assert numbers(three) == [(0, []), (1, [2])]
    finding = case.describer.describe(*ordered(three, 0.03)[1], None)
    assert len(finding.groups) == 2 * len(three.changes[0].planned.change.groups)


def test_how_much_all_findings_explain(case: Told) -> None:
    found = explained_share(case.outcome, 1)
    assert found is not None
    together = case.outcome.cumulative(0, case.findings[0].tested.best.closed.side)
    assert together is not None
    assert (found.share, found.low, found.high) == (together.share, together.low, together.high)
    none: Any = replace(case.outcome, changes=())
    assert explained_share(none, 0) is None
    assert ordered(none, 0.03) == []
    unread = replace(case.outcome, together=(None,) * len(case.outcome.together))
    assert explained_share(unread, 1) is None


def test_the_sentence_about_all_findings() -> None:
    assert Explained(17, 0.4, 0.3, 0.52, 1).sentence == (
        "The finding explains 40% [30, 52] of the difference between the models' answers, patched at layer 17."
    )
    assert Explained(17, 0.4, -0.03, 0.52, 2).sentence == (
        "Together the findings explain 40% [−3, 52] of the difference between the models' answers, patched at layer 17."
    )


def behavior(side: Side, own: float, other: Rate) -> Behavior:
    rate = Rate(own, own, own)
    rates: dict[Side, Rate] = (
        {"base": other, "target": rate} if side == "target" else {"base": rate, "target": other}
    )
    return Behavior(candidate(PLAN, side), rates, 40, 20, 0, True, 0.001, 0.002, ())


@pytest.mark.parametrize(
    ("own", "high", "names"),
    [
        (0.9, 0.09, ("added", "removed")),
        (0.9, 0.10, ("strengthened", "weakened")),
        (0.3, 0.05, ("added", "removed")),
        (0.3, 0.06, ("strengthened", "weakened")),
    ],
)
def test_a_behavior_is_new_where_the_other_model_hardly_has_it(
    own: float, high: float, names: tuple[str, str]
) -> None:
    found = tuple(behavior_change(behavior(side, own, Rate(0.0, 0.0, high))) for side in ("target", "base"))
    assert found == names


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_class_of_a_behavior_is_mirrored(own: float, high: float) -> None:
    mirror = {"added": "removed", "strengthened": "weakened"}
    one = behavior_change(behavior("target", own, Rate(0.0, 0.0, high)))
    assert behavior_change(behavior("base", own, Rate(0.0, 0.0, high))) == mirror[one]
