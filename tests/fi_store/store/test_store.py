"""The store's writes and small reads: facts replace their chunk, runs are found, events keep their order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from fi_store import ids
from fi_store.errors import NotFoundError, StoreError, UsageError
from fi_store.store import Store, add_missing, now, write_facts
from fi_store.store.tables import Base, PromptSet, RunToken
from tests.helpers.store_factory import FilledStore


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "s.duckdb", create=True)


def tokens(run: str, *texts: str) -> dict[str, list[object]]:
    return {"run_id": [run] * len(texts), "token_id": list(range(len(texts))), "text": list(texts)}


def test_facts_replace_only_the_matching_rows(store: Store) -> None:
    for texts in (("a", "b", "c"), ("d",)):
        with store.session() as session:
            assert write_facts(session, RunToken, tokens("one", *texts), replace={"run_id": "one"}) == len(
                texts
            )
    with store.session() as session:
        write_facts(session, RunToken, tokens("two", "x"), replace={"run_id": "two"})
    assert store.rows("SELECT run_id, text FROM run_token ORDER BY run_id") == [
        {"run_id": "one", "text": "d"},
        {"run_id": "two", "text": "x"},
    ]


def test_facts_are_part_of_the_transaction(store: Store) -> None:
    def write_and_fail() -> None:
        with store.session() as session:
            write_facts(session, RunToken, tokens("one", "a"), replace={"run_id": "one"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert store.rows("SELECT * FROM run_token") == []


def test_facts_are_matched_by_name_not_by_position(store: Store) -> None:
    shuffled = pa.table({"text": ["a"], "run_id": ["r"], "token_id": [7]})
    with store.session() as session:
        write_facts(session, RunToken, shuffled, replace={"run_id": "r"})
    assert store.rows("SELECT * FROM run_token") == [{"run_id": "r", "token_id": 7, "text": "a"}]


def test_an_unknown_column_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError), store.session() as session:
        write_facts(session, RunToken, {**tokens("r", "a"), "color": ["red"]}, replace={"run_id": "r"})


def test_empty_facts_only_delete(store: Store) -> None:
    with store.session() as session:
        write_facts(session, RunToken, tokens("r", "a"), replace={"run_id": "r"})
        assert write_facts(session, RunToken, tokens("r"), replace={"run_id": "r"}) == 0
    assert store.rows("SELECT * FROM run_token") == []


def test_existing_entities_are_not_added_again(store: Store) -> None:
    def sets(name: str) -> list[Base]:
        return [PromptSet(id="same", name=name, version="1", n_prompts=1, created_at=now())]

    for name in ("first", "second"):
        with store.session() as session:
            add_missing(session, sets(name))
    assert store.rows("SELECT name FROM prompt_set") == [{"name": "first"}]


def test_runs_are_found_by_id_prefix_and_latest(plain_store: FilledStore) -> None:
    first, second = plain_store.runs
    with Store.open(plain_store.path, read_only=True) as store:
        assert store.run().id == second
        assert store.run("latest").id == second
        assert store.run(first).id == first
        assert store.run(first[:8]).id == first
        with pytest.raises(UsageError, match="Several runs begin with '019'"):
            store.run("019")
        with pytest.raises(NotFoundError, match="no run 'zz'"):
            store.run("zz")
        with pytest.raises(NotFoundError):
            store.run("%")


def test_an_empty_store_has_no_latest_run(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no run yet"):
        store.run()


def test_events_are_numbered_and_states_end_a_run(plain_store: FilledStore, tmp_path: Path) -> None:
    path, run = tmp_path / "s.duckdb", plain_store.runs[0]
    shutil.copyfile(plain_store.path, path)
    with Store.open(path) as store:
        before = store.rows("SELECT max(number) AS n FROM run_event WHERE run_id = $run", run=run)[0]["n"]
        store.event(run, "extract", "timing", "generate", value=1.5, detail={"a": 1})
        store.set_state(run, "analyzing", "analyze")
        assert store.run(run).state == "analyzing"
        store.set_state(run, "complete", "render")
        assert store.run(run).finished_at is not None
        found = store.rows(
            "SELECT number, kind, message FROM run_event WHERE run_id = $run AND number > $n ORDER BY number",
            run=run,
            n=before,
        )
    assert [(row["number"] - before, row["kind"], row["message"]) for row in found] == [
        (1, "timing", "generate"),
        (2, "state", "analyzing"),
        (3, "state", "complete"),
    ]


def test_run_ids_sort_by_time_and_are_uuid7() -> None:
    made = [ids.run_id() for _ in range(200)]
    assert len(set(made)) == 200
    assert [run_id[:13] for run_id in made] == sorted(run_id[:13] for run_id in made)
    assert {run_id[14] for run_id in made} == {"7"}
    assert {run_id[19] for run_id in made} <= set("89ab")


def test_content_ids_depend_on_content_only() -> None:
    assert ids.content_id({"a": 1, "b": 2}) == ids.content_id({"b": 2, "a": 1})
    assert ids.content_id("a", "b") != ids.content_id("ab")
    assert len(ids.content_id()) == 16
