"""Requests are written once, their answers found again, and what nobody asks for any more is removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analyze.behaviors import AnswerPredicate
from analyze.causal.arms import Patch, features_patch, layer_patch
from analyze.causal.generation import Generated, answers_under
from analyze.causal.requests import Probes, Request, as_units
from analyze.extraction import RESPONSE
from fi_store.errors import UsageError
from fi_store.store import Store, arm_path
from tests.helpers.causal import PLAN, PULLED, LinearModels, exact_effects, groups_of
from tests.helpers.synthetic import PUSHED, Synthetic, make

RUN = "run"
SOME = (0, 3, 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make(says=True, folder=tmp_path_factory.mktemp("gradients"))


@pytest.fixture(scope="module")
def patches(data: Synthetic) -> list[Patch]:
    effects = exact_effects(data)
    group = groups_of(data, effects)[0]
    every = np.ones(data.extraction.units.n, dtype=bool)
    return [
        features_patch("change", [group], data.extraction, every, "d", group.id),
        layer_patch("whole", effects, (RESPONSE,), data.activations, data.extraction, every),
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as opened:
        yield opened


def count(store: Store, table: str) -> int:
    return int(store.rows(f"select count(*) as n from {table}")[0]["n"])


def test_what_was_asked_is_found_again(store: Store, data: Synthetic, patches: list[Patch]) -> None:
    models, times = LinearModels(data), []

    def ask() -> None:
        times.append(1)
        models.answer(store)

    requests = [
        Request("read", "target", None, SOME),
        Request("read", "target", patches[0], SOME, words=True),
        Request("read", "base", patches[0], SOME),
        Request("read", "base", patches[1], SOME),
    ]
    probes = Probes(store, RUN, data.extraction, ask)
    probes.ask(requests)
    assert times == [1]
    assert (count(store, "arm"), count(store, "probe_request")) == (2, 4)
    found = probes.readings(requests)
    assert set(found) == set(requests)
    for request in requests:
        expected = models.reading(request.patch, request.side, SOME)
        assert set(found[request].logprobs) == {(u, a) for u in SOME for a in ("base", "target")}
        for key, values in expected.logprobs.items():
            np.testing.assert_allclose(found[request].logprobs[key], values, rtol=1e-5)
    pushes = found[requests[1]].pushes[0, "target"]
    assert set(pushes) == {PUSHED, PULLED}
    assert pushes[PUSHED] > 0 > pushes[PULLED]
    assert found[requests[2]].pushes[0, "target"] == {}
    # Another analysis of the run asks for the same, and nothing is written or computed twice.
    again = Probes(store, RUN, data.extraction, lambda: models.answer(store))
    again.ask([replace(each, patch=each.patch and replace(each.patch)) for each in requests])
    assert (count(store, "arm"), count(store, "probe_request")) == (2, 4)
    assert count(store, "intervention") == 4 * len(SOME) * 2


def test_what_differs_in_anything_is_another_request(
    store: Store, data: Synthetic, patches: list[Patch]
) -> None:
    probes = Probes(store, RUN, data.extraction, lambda: None)
    one = Request("read", "base", patches[0], SOME)
    others = [
        replace(one, kind="generate"),
        replace(one, side="target"),
        replace(one, patch=patches[1]),
        replace(one, patch=None),
        replace(one, units=(0, 3)),
        replace(one, words=True),
    ]
    assert len({probes.id_of(each) for each in (one, *others)}) == 7
    assert Probes(store, "another", data.extraction, lambda: None).id_of(one) != probes.id_of(one)


def test_the_rest_is_forgotten(store: Store, data: Synthetic, patches: list[Patch]) -> None:
    models = LinearModels(data)
    first = Probes(store, RUN, data.extraction, lambda: models.answer(store))
    kept = Request("read", "base", patches[0], SOME)
    gone = [Request("read", "base", patches[1], SOME), Request("generate", "target", patches[1], SOME)]
    first.ask([kept, *gone])
    other_run = Probes(store, "another", data.extraction, lambda: models.answer(store))
    other_run.ask([gone[0]])
    again = Probes(store, RUN, data.extraction, lambda: models.answer(store))
    again.ask([kept])
    again.forget_others()
    rows = store.rows("select id from probe_request where run_id = $run", run=RUN)
    assert [row["id"] for row in rows] == [again.id_of(kept)]
    assert again.readings([kept, *gone]).keys() == {kept}
    assert again.answers(gone[1]) == {}
    assert not (store.folder / arm_path(RUN, patches[1].id)).exists()
    assert (store.folder / arm_path(RUN, patches[0].id)).exists()
    assert (store.folder / arm_path("another", patches[1].id)).exists()
    assert len(other_run.readings([gone[0]])) == 1
    # An analysis that asks for nothing leaves nothing.
    Probes(store, RUN, data.extraction, lambda: None).forget_others()
    assert store.rows("select 1 from arm where run_id = $run", run=RUN) == []
    assert store.rows("select 1 from intervention where run_id = $run", run=RUN) == []


def test_models_that_cannot_be_run_are_a_problem_that_is_named_once(
    store: Store, data: Synthetic, patches: list[Patch]
) -> None:
    times = []

    def ask() -> None:
        times.append(1)
        raise UsageError("the adapter changed")

    probes = Probes(store, RUN, data.extraction, ask)
    request = Request("read", "base", patches[0], SOME)
    probes.ask([request])
    probes.ask([replace(request, side="target")])
    assert probes.problem == (
        "The models could not be run again, so no cause was tested: the adapter changed"
    )
    assert times == [1]
    assert probes.readings([request]) == {}


def test_nothing_asked_runs_no_model(store: Store, data: Synthetic) -> None:
    def ask() -> None:
        raise AssertionError

    Probes(store, RUN, data.extraction, ask).ask([])


def test_rates_in_answers_under_a_patch(store: Store, data: Synthetic, patches: list[Patch]) -> None:
    models = LinearModels(data)
    probes = Probes(store, RUN, data.extraction, lambda: models.answer(store))
    units = as_units(np.flatnonzero(data.extraction.units.categories != "third")[:20])
    requests = {
        "clean": Request("generate", "target", None, units),
        "patched": Request("generate", "target", patches[0], units),
        "control": Request("generate", "target", patches[1], units),
    }
    probes.ask(list(requests.values()))
    found = answers_under(probes, requests, PLAN, data.extraction)
    having = np.mean(["Plan" in data.extraction.units.answers["target"][unit] for unit in units])
    assert 0.3 < having < 0.8
    assert patches[0].directions is not None
    where = patches[0].effects.layer, len(patches[0].directions)
    assert found == Generated(*where, 20, having, 0.0, having)
    without = {name: request for name, request in requests.items() if name != "control"}
    assert answers_under(probes, without, PLAN, data.extraction) == Generated(*where, 20, having, 0.0, None)
    failed = {**requests, "patched": replace(requests["patched"], units=(1,))}
    assert answers_under(probes, failed, PLAN, data.extraction) is None
    unfinished = answers_under(probes, requests, AnswerPredicate("unfinished"), data.extraction)
    assert unfinished == Generated(*where, 20, 0.0, 0.0, 0.0)
