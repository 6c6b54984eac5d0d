"""The plan: what is asked of the models on C, and which changes go there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analyze.causal import Change, make_plan
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES
from tests.helpers.causal import THRESHOLD, Case, case_of
from tests.helpers.synthetic import make, residuals_of


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case_of(make(n_units=90, says=True, folder=tmp_path_factory.mktemp("gradients")))


def test_the_plan_asks_for_every_arm_on_both_sides(case: Case) -> None:
    kinds = sorted(
        (request.side, request.patch.kind if request.patch else "none", len(request.units), request.words)
        for request in case.plan.requests.values()
    )
    n = len(case.plan.units)
    per_side = [
        ("change", n + 5, True),
        ("change", n + 5, True),
        ("control", n, False),
        ("control", n, False),
        ("cumulative", METHOD.patched_prompts, False),  # the first change is its own
        ("dictionary", METHOD.patched_prompts, False),
        ("mean_shift", METHOD.patched_prompts, False),
        ("none", n + 5, False),
        ("whole", n, False),
    ]
    assert kinds == sorted((side, *rest) for side in SIDES for rest in per_side)
    discovery = case.data.extraction.units.discovery
    assert not discovery[case.plan.units].any()
    assert discovery[case.plan.also].all()
    (first, second) = case.plan.to_json([case.effects])
    assert (first["behavior"], first["layer"], second["behavior"]) == (1, 0, None)


def test_at_most_six_changes_are_tested_and_none_that_is_too_small(case: Case) -> None:
    def planned(shares: list[float]) -> list[float]:
        first = case.changes[0].groups[0]
        changes = [Change((replace(first, id=f"g{n}", share=share),), None) for n, share in enumerate(shares)]
        plan = make_plan(
            *("run", changes, [case.effects], residuals_of(case.data), case.data.extraction),
            units=case.plan.units,
            also=case.plan.also,
            threshold=THRESHOLD,
            seed=0,
        )
        return [each.change.share for each in plan.changes]

    assert planned([0.3] * 8) == [0.3] * METHOD.max_changes
    assert planned([0.3, 0.031, 0.029]) == [0.3, 0.031]
    assert planned([0.01]) == []


def test_models_answer_anew_where_the_change_holds_most(case: Case) -> None:
    first = case.changes[0].groups[0]
    late = replace(first, id="late", index=1, share=first.share * 1.5)
    both = residuals_of(case.data)
    twice = replace(both, rows={**both.rows, **{(side, 1): both.rows[side, 0] for side in SIDES}})
    plan = make_plan(
        *("run", [Change((first, late), None)], [case.effects, case.effects], twice, case.data.extraction),
        units=case.plan.units,
        also=case.plan.also,
        threshold=THRESHOLD,
        seed=0,
    )
    (planned,) = plan.changes
    assert planned.tested is planned.patches[0]
    assert planned.answered is planned.patches[1]
    for side in SIDES:
        assert planned.answered_controls[side].rows.tolist() == planned.answered.rows.tolist()
