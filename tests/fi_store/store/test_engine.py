"""The gate to the database: schema check, locks between real processes, rollback, translated errors."""

from __future__ import annotations

import shlex
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa

from fi_store.errors import (
    NotFoundError,
    SchemaNewerError,
    SchemaOlderError,
    StoreError,
    StoreLockedError,
    UsageError,
)
from fi_store.store import Store, now
from fi_store.store import engine as db
from fi_store.store.tables import PromptSet


def prompt_set(key: str) -> PromptSet:
    return PromptSet(id=key, name="n", version="1", n_prompts=0, created_at=now())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store in a folder whose name means something in a URL, in SQL and in a shell."""
    path = tmp_path / "a b" / "x=1&%41#$(id)" / "s'tore.duckdb"
    db.upgrade_schema(path)
    assert path.is_file()
    return path


def test_a_new_store_has_the_newest_schema(path: Path) -> None:
    engine = db.open_engine(path)
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    assert found == [db.head_revision()]
    engine.dispose()


def test_a_path_that_duckdb_cannot_use_is_refused(tmp_path: Path) -> None:
    """DuckDB writes its log of `what?x=1/s.duckdb` into `what.wal?x=1/`, a folder that does not exist."""
    with pytest.raises(UsageError, match=r"what\?x=1.* has a question mark") as caught:
        db.open_engine(tmp_path / "what?x=1" / "s.duckdb", create=True)
    assert "--output-dir" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_reading_does_not_make_a_store(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="There is no store") as caught:
        db.open_engine(tmp_path / "absent.duckdb")
    assert caught.value.hint.startswith("fi-store demo")
    assert not (tmp_path / "absent.duckdb").exists()


def test_an_older_and_a_newer_schema_are_refused_with_the_command(path: Path) -> None:
    def set_revision(value: str) -> None:
        with duckdb.connect(str(path)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = $1", [value])

    set_revision("9999")
    with pytest.raises(SchemaNewerError, match="newer fi-store \\(schema 9999\\)") as caught:
        db.open_engine(path)
    assert caught.value.hint == "pip install --upgrade fi-store"
    with pytest.raises(SchemaNewerError, match="newer fi-store"):
        db.upgrade_schema(path)
    set_revision("0001")
    with pytest.raises(SchemaOlderError, match="has schema 0001") as older:
        db.open_engine(path)
    assert shlex.split(older.value.hint) == ["fi-store", "db", "upgrade", "--store", str(path)]
    empty = path.with_name("empty.duckdb")
    duckdb.connect(str(empty)).close()
    with pytest.raises(SchemaOlderError, match="is empty"):
        db.open_engine(empty)
    db.upgrade_schema(empty)
    db.open_engine(empty).dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE run (id INTEGER)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE t (x INTEGER); CREATE TABLE alembic_version (version_num VARCHAR);"
        " INSERT INTO alembic_version VALUES ('0001')",
    ],
)
def test_another_programs_database_is_refused_and_stays_as_it_is(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(statement)
    before = path.read_bytes()
    for attempt in (db.upgrade_schema, db.open_engine):
        with pytest.raises(StoreError, match="is not a fi-store store") as caught:
            attempt(path)
        assert "upgrade" not in caught.value.hint
    assert path.read_bytes() == before


def test_a_file_of_a_newer_duckdb_names_the_package(path: Path) -> None:
    """The file's header gets a version that this DuckDB cannot read, and the checksum that belongs to it."""
    content = bytearray(path.read_bytes())
    content[12:20] = (999).to_bytes(8, "little")
    checksum = 5381
    for (word,) in struct.iter_unpack("<Q", content[8:4096]):
        checksum ^= word * 0xBF58476D1CE4E5B9 % 2**64
    content[:8] = checksum.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(StoreError, match="was written by a newer DuckDB") as caught:
        db.open_engine(path)
    assert caught.value.hint == "pip install --upgrade fi-store"


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.duckdb"
    path.write_text("not a database, only text that is long enough to be read as a header " * 100)
    with pytest.raises(StoreError, match="is not a DuckDB file"):
        db.open_engine(path)


def test_an_error_rolls_everything_back(path: Path) -> None:
    engine = db.open_engine(path)

    def write_and_fail() -> None:
        with db.transaction(engine) as session:
            session.add(prompt_set("lost"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with db.transaction(engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(PromptSet)) == 0
        session.add(prompt_set("kept"))
    with db.transaction(engine) as session:
        assert session.scalars(sa.select(PromptSet.id)).all() == ["kept"]
    engine.dispose()


def test_a_store_that_another_process_holds_names_the_process(path: Path) -> None:
    """A second process opens the file for writing. The error names it; once it has ended, the store opens."""
    script = textwrap.dedent(
        """
        import sys
        from fi_store.store import Store
        with Store.open(sys.argv[1]):
            print("open", flush=True)
            sys.stdin.read()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        for read_only in (False, True):
            with pytest.raises(StoreLockedError, match=rf"python.* \(process {other.pid}\)") as caught:
                Store.open(path, read_only=read_only)
            assert "--store" in caught.value.hint
        other.communicate()
    with Store.open(path) as store:
        assert store.rows("SELECT 1 AS number") == [{"number": 1}]


def test_readers_share_a_store(path: Path) -> None:
    script = "import sys; from fi_store.store import Store; Store.open(sys.argv[1], read_only=True).close()"
    with Store.open(path, read_only=True):
        subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("IO Error: Could not write: No space left on device", "disk of s.duckdb is full"),
        ("Could not set lock on file", "in use by another process"),
        ("Binder Error: column x\nLINE 1", "the store s.duckdb: Binder Error: column x"),
        ("", "unknown error"),
    ],
)
def test_database_errors_become_sentences(text: str, words: str) -> None:
    assert words in str(db.explain(text, "s.duckdb"))


def test_extensions_are_not_fetched(path: Path) -> None:
    engine = db.open_engine(path)
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT current_setting('autoinstall_known_extensions')")).scalar()
    assert found in (False, "false")
    engine.dispose()
