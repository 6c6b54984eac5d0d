"""The only gate to the database: opens a store, checks and upgrades its schema, runs transactions, translates errors.

DuckDB admits one writing process and locks out all others. The lock error says which process has the file open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from fi_store.commands import UPGRADE_PACKAGE, command_line
from fi_store.errors import (
    FiStoreError,
    NotFoundError,
    SchemaNewerError,
    SchemaOlderError,
    StoreError,
    StoreLockedError,
    UsageError,
)
from fi_store.shipped import shipped

OUR_TABLES = frozenset({"run", "model", "prompt_set", "prompt", "sequence", "feature_group"})
"""Tables that a store has in every schema."""
DUCKDB_MEMORY = "1GB"
"""DuckDB's memory limit. Beyond it DuckDB spills to disk, so a run's peak memory is the models' peak."""


def make_engine(path: Path, *, read_only: bool = False) -> sa.Engine:
    """An engine on a store file. It never fetches extensions and attaches no other file.

    Raises:
        UsageError: the path has a question mark.
    """
    full = str(path.absolute())  # if relative, `md:x` would name a remote database
    if "?" in full:  # DuckDB puts the name of its log before it, as if it were an address with parameters
        raise UsageError(
            f"The store's path {full} has a question mark, which DuckDB cannot use.",
            hint="use another --output-dir or --store",
        )
    return sa.create_engine(
        sa.URL.create("duckdb", database=full),
        connect_args={
            "read_only": read_only,
            "config": {
                "memory_limit": DUCKDB_MEMORY,
                "autoinstall_known_extensions": "false",
                "preserve_insertion_order": "true",
            },
        },
    )


def alembic_config(connection: sa.Connection | None = None) -> AlembicConfig:
    """Alembic's configuration for the shipped migrations. If a connection is given, commands run on it."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head_revision() -> str:
    """The newest schema that this package knows."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if head is None:
        raise StoreError(
            "The installed package has no migrations.", hint="pip install --force-reinstall fi-store"
        )
    return head


def upgrade_schema(path: Path) -> None:
    """Upgrades a store (or a new or empty file) to the newest schema. This is the only way to make a schema.

    Raises:
        StoreError: the file is another program's database; nothing was written into it.
        SchemaNewerError: a newer fi-store wrote it.
    """
    engine = make_engine(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with translated(engine), engine.connect() as connection:
            _checked_revision(connection, path)
            connection.rollback()  # or all migrations would share the transaction that the check began
            command.upgrade(alembic_config(connection), "head")
            connection.commit()
    finally:
        engine.dispose()


def open_engine(path: Path, *, create: bool = False, read_only: bool = False) -> sa.Engine:
    """An engine on a store whose schema matches this package's.

    Raises:
        NotFoundError: the file does not exist and `create` is false.
        SchemaOlderError, SchemaNewerError: the hint is the command that fixes it.
        StoreLockedError: another process has the file open; the message names it.
    """
    if not path.exists():
        if not create:
            raise NotFoundError(
                f"There is no store at {path}.", hint="fi-store demo, or name a store with --store FILE"
            )
        upgrade_schema(path)
    engine = make_engine(path, read_only=read_only)
    try:
        _check_schema(engine, path)
    except FiStoreError:
        engine.dispose()
        raise
    return engine


def _check_schema(engine: sa.Engine, path: Path) -> None:
    with translated(engine), engine.connect() as connection:
        found = _checked_revision(connection, path)
    if found != head_revision():
        state = f"has schema {found}" if found else "is empty"
        raise SchemaOlderError(
            f"The store {path} {state}, and this fi-store needs {head_revision()}.",
            hint=command_line("db", "upgrade", store=path),
        )


def _checked_revision(connection: sa.Connection, path: Path) -> str | None:
    """The schema that the file has, or None if it is empty; refuses what this package cannot upgrade."""
    found = MigrationContext.configure(connection).get_current_revision()
    names = {
        str(name)
        for (name,) in connection.execute(
            sa.text(
                "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND database_name = current_database()"
                " UNION SELECT view_name FROM duckdb_views() WHERE NOT internal"
                " AND database_name = current_database()"
            )
        )
    } - {"alembic_version"}
    if not names and found is None:
        return None
    if found is None or not names >= OUR_TABLES:  # other programs use Alembic too
        raise StoreError(
            f"{path} is not a fi-store store, but another program's database.",
            hint="name another file with --store",
        )
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if found not in known:
        raise SchemaNewerError(
            f"The store {path} was written by a newer fi-store (schema {found}).", hint=UPGRADE_PACKAGE
        )
    return found


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[Session]:
    """One transaction: committed at the end, rolled back on any error."""
    with translated(engine), Session(engine, expire_on_commit=False) as opened, opened.begin():
        yield opened


@contextmanager
def translated(engine: sa.Engine) -> Iterator[None]:
    """Translates the database's errors into ours, which have a next step."""
    path = engine.url.database or ""
    try:
        yield
    except (sa.exc.DBAPIError, duckdb.Error, OSError) as error:
        raise explain(str(getattr(error, "orig", None) or error), path) from error


def explain(text: str, path: str | Path) -> StoreError:
    """Our error for a message from DuckDB about the store at `path`."""
    first = text.strip().splitlines()[0] if text.strip() else "unknown error"
    lock = re.search(r"held in (.+?) \(PID (\d+)\)", text)
    if lock:
        return StoreLockedError(
            f"The store {path} is in use by {Path(lock[1]).name} (process {lock[2]}).",
            hint="wait until it ends, or use another file with --store",
        )
    if "Could not set lock" in text:
        return StoreLockedError(f"The store {path} is in use by another process.", hint="wait until it ends")
    if "No space left" in text or "not enough space" in text.lower():
        return StoreError(
            f"The disk of {path} is full.", hint="free some space (fi-store gc), then repeat with --resume"
        )
    if re.search(r"\ban? newer version of DuckDB", text):
        return StoreError(f"The store {path} was written by a newer DuckDB.", hint=UPGRADE_PACKAGE)
    if "not a valid DuckDB database" in text:
        return StoreError(f"{path} is not a DuckDB file.", hint="name another file with --store")
    return StoreError(f"DuckDB reported an error for the store {path}: {first}")
