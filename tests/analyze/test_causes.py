"""The causal test from groups on D to findings on C, with a store and linear models; and why it is not made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyze.behaviors import answers_of, confirm_behaviors
from analyze.causal import Generated, Probes, measure_gap
from analyze.causes import CausalTest
from analyze.fitting import Fitted
from fi_store.config import make_config
from fi_store.store import Store
from tests.helpers.causal import PLAN, LinearModels, candidate, exact_effects
from tests.helpers.synthetic import Synthetic, make, residuals_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make(n_units=90, says=True, folder=tmp_path_factory.mktemp("gradients"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as opened:
        yield opened


def causal_test(data: Synthetic, store: Store, **options: Any) -> CausalTest:
    models = LinearModels(data)
    fitted = Fitted([exact_effects(data)], residuals_of(data))
    return CausalTest(
        run_id="run",
        config=make_config(base_model="a", target_model="b", candidates=4, **options),
        extraction=data.extraction,
        fitted=fitted,
        gap=measure_gap(data.extraction),
        behaviors=[candidate(PLAN)],
        answers=answers_of(data.extraction.units),
        probes=Probes(store, "run", data.extraction, lambda: models.answer(store)),
    )


def test_the_planted_change_is_the_one_finding(data: Synthetic, store: Store) -> None:
    test = causal_test(data, store)
    assert test.obstacle() is None
    whole, own = test.gaps
    discovery = data.extraction.units.discovery
    assert whole.units.tolist() == discovery.tolist()
    assert own.gap > whole.gap > 0
    assert set(data.extraction.units.categories[own.units]) == {"planted"}
    changes = test.changes()
    first = changes[0]
    assert 0 in first.leader.latents
    plan = test.plan(changes)
    outcome = test.confirm(plan)
    assert [found.planned.change.leader.id for found in outcome.findings] == [first.leader.id]
    assert outcome.findings[0].best.closed.share == pytest.approx(1, abs=0.1)
    stored = store.rows("select distinct kind from arm order by kind")
    assert [row["kind"] for row in stored] == [
        *("change", "control", "dictionary", "group", "mean_shift", "whole")
    ]
    on_d, on_c = (test.answers.within(half) for half in (discovery, ~discovery))
    behaviors = confirm_behaviors(test.behaviors, on_d, on_c, 0.05)
    rates = test.generate(outcome.findings, behaviors, outcome)
    if first.behavior is None:
        assert rates == {}
    else:
        (rate,) = rates.values()
        assert isinstance(rate, Generated)
        assert rate.patched == 0 < rate.clean
    # Everything is found again: a second analysis with other objects runs no model.
    again = replace(causal_test(data, store), probes=Probes(store, "run", data.extraction, lambda: None))
    repeated = again.confirm(again.plan(again.changes()))
    assert [found.best.closed.share for found in repeated.changes] == [
        found.best.closed.share for found in outcome.changes
    ]


def test_models_that_cannot_be_read_give_no_changes(data: Synthetic, store: Store) -> None:
    test = replace(causal_test(data, store), probes=Probes(store, "run", data.extraction, lambda: None))
    assert test.changes() == []


def test_why_nothing_is_patched(data: Synthetic, store: Store) -> None:
    test = causal_test(data, store)
    assert "as requested" in str(causal_test(data, store, interventions="off").obstacle())
    bare = Fitted([], residuals_of(data))
    assert replace(test, fitted=bare).obstacle() == "Without features there is nothing to patch."
    effects = test.fitted.layers[0]
    wide = replace(
        effects,
        dictionary=replace(effects.dictionary, config=replace(effects.dictionary.config, d_second=40)),
    )
    assert "widths differ" in str(replace(test, fitted=Fitted([wide], residuals_of(data))).obstacle())
    old = replace(data.extraction, answers={})
    assert "version 1" in str(replace(test, extraction=old, gap=measure_gap(old)).obstacle())
    discovery = data.extraction.units.discovery
    for half in (discovery, ~discovery):
        kept = int(np.flatnonzero(half)[0])
        few = replace(
            data.extraction,
            answers={
                key: tokens
                for key, tokens in data.extraction.answers.items()
                if not half[key[0]] or key[0] == kept
            },
        )
        assert "Too few prompts" in str(replace(test, extraction=few, gap=measure_gap(few)).obstacle())
    same = {
        key: replace(tokens, logprobs=np.full_like(tokens.logprobs, -1.0))
        for key, tokens in data.extraction.answers.items()
    }
    equal = replace(data.extraction, answers=same)
    nothing = replace(test, extraction=equal, gap=measure_gap(equal))
    assert nothing.gaps == []
    assert nothing.groups == []
    assert "as likely as its own" in str(nothing.obstacle())


def test_without_a_group_nothing_is_patched(data: Synthetic, store: Store) -> None:
    test = causal_test(data, store)
    layer = test.fitted.layers[0]
    assert layer.attribution is not None
    nothing = {number: 0 * nats[:] for number, nats in layer.attribution.of_units.items()}
    silent = replace(layer, attribution=replace(layer.attribution, of_units=nothing))
    assert "No group" in str(replace(test, fitted=Fitted([silent], residuals_of(data))).obstacle())


def test_without_gradients_the_longest_change_is_tested(data: Synthetic, store: Store) -> None:
    models = LinearModels(data)
    bare = replace(data, extraction=replace(data.extraction, gradient_shards={}))
    test = replace(
        causal_test(data, store),
        extraction=bare.extraction,
        fitted=Fitted([exact_effects(bare)], residuals_of(bare)),
        probes=Probes(store, "run", bare.extraction, lambda: models.answer(store)),
    )
    assert test.obstacle() is None
    outcome = test.confirm(test.plan(test.changes()))
    (found,) = outcome.findings
    assert 0 in found.planned.change.leader.latents
    assert found.best.control is None
