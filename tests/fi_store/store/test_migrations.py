"""Migrations are the only way to make a schema. They end at the tables' definition, and an upgraded store works."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import duckdb
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from fi_store.errors import SchemaOlderError
from fi_store.prompts import suite_from_store
from fi_store.store import Store, list_queries, run_query
from fi_store.store import engine as db
from fi_store.store.tables import Base
from fi_store.vocabulary import DIFFERENT, NO_DIFFERENCE
from tests.helpers.store_factory import FilledStore

REVISIONS = [
    script.revision
    for script in ScriptDirectory.from_config(db.alembic_config()).walk_revisions()
    if script.revision
]


def test_models_and_migrated_schema_do_not_differ(tmp_path: Path) -> None:
    """The same check as `alembic check`, on a store made by the migrations."""
    path = tmp_path / "s.duckdb"
    db.upgrade_schema(path)
    engine = db.make_engine(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"render_as_batch": True})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == db.head_revision()
    engine.dispose()


def test_a_difference_would_be_noticed(tmp_path: Path) -> None:
    """The check above can fail: it reports a column that was dropped."""
    path = tmp_path / "s.duckdb"
    db.upgrade_schema(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE effect DROP COLUMN note")
    engine = db.make_engine(path)
    with engine.connect() as connection:
        (difference,) = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert difference[0] == "add_column"
    assert difference[3].name == "note"
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_store_of_every_revision_upgrades_and_works(
    tmp_path: Path, plain_store: FilledStore, revision: str
) -> None:
    """An upgraded store takes the rows of a new one, every column of every table, and answers every query."""
    path = tmp_path / "s.duckdb"
    make_schema(path, revision)
    db.upgrade_schema(path)
    counts = copy_columns(plain_store.path, path, NEW_COLUMNS)
    assert set(counts) == set(Base.metadata.tables)
    assert counts["finding"] > 0
    with Store.open(path, read_only=True) as store:
        for query in list_queries():
            required = {p.name: plain_store.runs[0] for p in query.parameters if p.required}
            run_query(store, query.name, **required)


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_filled_store_of_every_revision_keeps_its_rows(
    tmp_path: Path, old_store: FilledStore, revision: str
) -> None:
    """Upgrades a store of that revision, filled with the columns that it had, and queries it."""
    path = tmp_path / "old.duckdb"
    make_schema(path, revision)
    counts = copy_shared_columns(old_store.path, path)
    assert min(counts["prompt"], counts["finding"]) > 0
    with pytest.raises(SchemaOlderError) if revision != db.head_revision() else nullcontext():
        Store.open(path, read_only=True).close()
    db.upgrade_schema(path)
    with Store.open(path) as store:
        for table, n in counts.items():
            assert store.rows(f'SELECT count(*) AS n FROM "{table}"') == [{"n": n}], table
        run = store.run()
        prompts = suite_from_store(store, run.prompt_set_id).prompts
        assert len(prompts) == counts["prompt"]
        assert all((prompt.failure_answer is None) == (revision == "0001") for prompt in prompts)
        assert store.rows("SELECT 1 FROM feature_group WHERE selected")
        for query in list_queries():
            required = {p.name: run.id for p in query.parameters if p.required}
            run_query(store, query.name, **required)


def test_a_run_that_reused_an_extraction_gets_its_halves(tmp_path: Path, old_store: FilledStore) -> None:
    path = tmp_path / "old.duckdb"
    make_schema(path, "0005")
    copy_shared_columns(old_store.path, path)
    source, reused = old_store.runs[:2]
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM run_unit WHERE run_id = $1", [reused])
        connection.execute("UPDATE run SET extraction_run_id = $1 WHERE id = $2", [source, reused])
    db.upgrade_schema(path)
    with Store.open(path, read_only=True) as store:
        halves = [
            store.rows("SELECT * EXCLUDE (run_id) FROM run_unit WHERE run_id = $run ORDER BY unit", run=run)
            for run in (source, reused)
        ]
        assert halves[0] == halves[1] != []


def test_older_spellings_are_updated(tmp_path: Path, old_store: FilledStore) -> None:
    """Revision 0008 respells gate 0's verdict and `keep_activations`; other values and runs stay as they are."""
    path = tmp_path / "old.duckdb"
    make_schema(path, "0007")
    copy_shared_columns(old_store.path, path)
    old, other = old_store.runs[:2]
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "UPDATE pair_gate SET verdict = 'no_behavioural_difference' WHERE run_id = $1", [old]
        )
        connection.execute(
            """UPDATE run SET config = json_merge_patch(config, '{"keep_activations": "analysed"}') WHERE id = $1""",
            [old],
        )
    with duckdb.connect(str(path), read_only=True) as connection:
        configs = dict(connection.execute("SELECT id, config FROM run").fetchall())
    db.upgrade_schema(path)
    with Store.open(path, read_only=True) as store:
        verdicts = {
            row["run_id"]: row["verdict"] for row in store.rows("SELECT run_id, verdict FROM pair_gate")
        }
        assert verdicts == {old: NO_DIFFERENCE, other: DIFFERENT}
        assert store.run(old).config == {**json.loads(configs[old]), "keep_activations": "analyzed"}
        assert store.run(other).config == json.loads(configs[other])


def make_schema(path: Path, revision: str) -> None:
    """Makes an empty store with the schema of a revision."""
    engine = db.make_engine(path)
    with engine.connect() as connection:
        command.upgrade(db.alembic_config(connection), revision)
        connection.commit()
    engine.dispose()


SHARED_COLUMNS = """
    SELECT a.table_name, list(a.column_name) FROM duckdb_columns() AS a JOIN duckdb_columns() AS b
    USING (table_name, column_name) WHERE a.database_name = 'new' AND b.database_name = 'old'
    AND table_name NOT IN ('alembic_version', 'probe_request', 'intervention') AND NOT a.internal
    GROUP BY a.table_name
"""
"""What an older store has too, without the tables that were dropped and made anew with another meaning."""
NEW_COLUMNS = """
    SELECT t.table_name, list(c.column_name) FROM duckdb_tables() AS t
    JOIN duckdb_columns() AS c USING (database_name, table_name)
    WHERE database_name = 'new' AND t.table_name <> 'alembic_version' GROUP BY t.table_name
"""
"""All that a new store has."""


def copy_shared_columns(source: Path, target: Path) -> dict[str, int]:
    """Fills the tables of an older store with the columns that both stores have; returns table -> rows."""
    return copy_columns(source, target, SHARED_COLUMNS)


def copy_columns(source: Path, target: Path, columns: str) -> dict[str, int]:
    """Copies the columns that a query names, table by table; returns table -> rows."""
    counts: dict[str, int] = {}
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{source}' AS new (READ_ONLY); ATTACH '{target}' AS old")
        for table, names in connection.execute(columns).fetchall():
            listed = ", ".join(f'"{name}"' for name in names)
            connection.execute(f'INSERT INTO old."{table}" ({listed}) SELECT {listed} FROM new."{table}"')
            counts[table] = connection.execute(f'SELECT count(*) FROM old."{table}"').fetchall()[0][0]
    return counts


def test_upgrading_twice_changes_nothing(tmp_path: Path, plain_store: FilledStore) -> None:
    path = tmp_path / "s.duckdb"
    shutil.copyfile(plain_store.path, path)
    db.upgrade_schema(path)
    with Store.open(path, read_only=True) as store:
        assert store.run().id == plain_store.runs[-1]


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(db.alembic_config()).get_heads()) == 1
