"""Migrations are the one way to a schema: they end at what the models say, and an upgraded store can be used."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from store_factory import fill_store

from fi_store import db
from fi_store.query import list_queries, run_query
from fi_store.schema import Base
from fi_store.store import Store

REVISIONS = [
    script.revision
    for script in ScriptDirectory.from_config(db.alembic_config()).walk_revisions()
    if script.revision
]


def test_models_and_migrated_schema_do_not_differ(tmp_path: Path) -> None:
    """What `alembic check` does, on a store that migrations made."""
    path = tmp_path / "s.duckdb"
    db.upgrade(path)
    engine = db.make_engine(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"render_as_batch": True})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == db.head_revision()
    engine.dispose()


def test_a_difference_would_be_seen(tmp_path: Path) -> None:
    """The check above can fail: a column that is dropped behind its back is reported."""
    path = tmp_path / "s.duckdb"
    db.upgrade(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE effect DROP COLUMN note")
    engine = db.make_engine(path)
    with engine.connect() as connection:
        (difference,) = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert difference[0] == "add_column"
    assert difference[3].name == "note"
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_store_of_every_revision_upgrades_and_is_used(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "s.duckdb"
    engine = db.make_engine(path)
    with engine.connect() as connection:
        command.upgrade(db.alembic_config(connection), revision)
        connection.commit()
    engine.dispose()
    db.upgrade(path)
    filled = fill_store(path)
    with Store.open(path, read_only=True) as store:
        for query in list_queries():
            required = {p.name: filled.runs[0] for p in query.parameters if p.required}
            run_query(store, query.name, **required)


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    filled = fill_store(path)
    db.upgrade(path)
    with Store.open(path, read_only=True) as store:
        assert store.run().id == filled.runs[-1]


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(db.alembic_config()).get_heads()) == 1
