"""A run in sentences: the findings, what nothing carries, what is explained; results of version 1; nothing at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fi_store.store import Store
from fi_store.summary import VERSION_1, describe_run
from tests.helpers.factory_causes import EXPLAINED
from tests.helpers.store_factory import PLANTED, FilledStore

STEPS = "Answers with 'Step 1': 96% of the target's held-out answers, 5% of the base's."
SHELF = "Answers with 'shelf': 5% of the target's held-out answers, 80% of the base's."


@pytest.fixture
def store(plain_store: FilledStore, tmp_path: Path) -> Iterator[Store]:
    shutil.copy(plain_store.path, tmp_path / "s.duckdb")
    with Store.open(tmp_path / "s.duckdb") as opened:
        yield opened


def changed(store: Store, *statements: str) -> list[str]:
    with store.session() as session:
        for statement in statements:
            session.execute(sa.text(statement))
    return describe_run(store, store.run().id)


def test_findings_come_first_then_what_nothing_carries_then_what_is_explained(store: Store) -> None:
    lines = changed(store)
    assert [line.split(":")[0] for line in lines[:3]] == [
        f"{rank}. {PLANTED[rank - 1].name}" for rank in (1, 2, 3)
    ]
    assert lines[3:] == [SHELF, EXPLAINED]


def test_behaviors_without_a_finding_come_first(store: Store) -> None:
    no_findings = ("DELETE FROM finding", "DELETE FROM run_event WHERE detail IS NOT NULL")
    lines = changed(store, *no_findings)
    assert lines[0] == STEPS
    assert lines[2:] == [SHELF, "Nothing that was read was shown to carry it."]
    untested = changed(store, "DELETE FROM arm_effect")
    assert untested == [*lines[:3], "Whether anything inside the models carries it was not tested."]
    assert changed(store, "DELETE FROM behavior") == [
        "No difference inside the models held on the confirmation half."
    ]
    assert changed(store, "DELETE FROM pair_gate") == ["This run is not analyzed yet."]


def test_results_of_version_1_say_that_they_are_not_tested(old_store: FilledStore, tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    shutil.copyfile(old_store.path, path)
    with Store.open(path) as store:
        lines = changed(store, "UPDATE finding SET sentence = 'It moved.' WHERE rank = 2")
    assert lines[0] == STEPS
    assert lines[3] == f"{VERSION_1}:"
    assert [line[:2] for line in lines[4:]] == ["1.", "2.", "3."]
    assert all("not tested causally" in line for line in lines[4:])
    assert lines[5] == "2. It moved (not tested causally)."


def test_a_pair_without_a_difference(same_store: FilledStore) -> None:
    with Store.open(same_store.path, read_only=True) as store:
        assert describe_run(store, same_store.runs[0]) == ["No behavioral difference on these prompts."]
