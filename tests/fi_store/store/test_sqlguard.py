"""Guarded SQL: reading is allowed, everything else is refused, and nothing outside the store can be reached."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from fi_store.errors import NotFoundError, SqlRefusedError, StoreError, StoreLockedError, UsageError
from fi_store.store import guarded_sql
from fi_store.store.sqlguard import TRUNCATED, check
from tests.helpers.store_factory import FilledStore


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select count(*) from finding;",
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "FROM finding LIMIT 3",
        "VALUES (1), (2)",
        "SHOW TABLES",
        "DESCRIBE finding",
        "SUMMARIZE finding",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "/* a comment */ -- another\nEXPLAIN (FORMAT json) SELECT 1",
        "PRAGMA table_info('finding')",
    ],
)
def test_reading_is_allowed(sql: str) -> None:
    assert check(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE finding",
        "COPY finding TO '/tmp/stolen.csv'",
        "COPY finding FROM '/etc/passwd'",
        "EXPLAIN ANALYZE COPY finding TO '/tmp/stolen.csv'",
        "EXPLAIN DELETE FROM finding",
        "/* x */ EXPLAIN /* y */ ANALYZE DELETE FROM finding",
        "ATTACH '/tmp/other.duckdb'",
        "DETACH memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA threads=4",
        "PRAGMA enable_profiling",
        "SET threads = 4",
        "RESET threads",
        "SET VARIABLE a = 1",
        "USE memory",
        "INSERT INTO finding SELECT * FROM finding",
        "UPDATE finding SET rank = 1",
        "DELETE FROM finding",
        "MERGE INTO finding USING finding AS f ON false WHEN MATCHED THEN DELETE",
        "CREATE TABLE x (a INTEGER)",
        "CREATE TEMP TABLE x AS SELECT 1",
        "CREATE MACRO m() AS 1",
        "ALTER TABLE finding ADD COLUMN x INTEGER",
        "DROP TABLE finding",
        "TRUNCATE finding",
        "VACUUM",
        "CHECKPOINT",
        "EXPORT DATABASE '/tmp/x'",
        "IMPORT DATABASE '/tmp/x'",
        "CALL enable_logging()",
        "SELECT * FROM enable_logging()",
        'SELECT * FROM "enable_logging" /* hidden */ ()',
        "SELECT * FROM enable_profiling(save_location = '/tmp/x.json')",
        "SELECT * FROM checkpoint()",
        "BEGIN TRANSACTION",
        "PREPARE q AS SELECT 1",
        "EXECUTE q",
    ],
)
def test_everything_else_is_refused(sql: str) -> None:
    with pytest.raises(SqlRefusedError):
        check(sql)


def test_invalid_sql_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not SQL"):
        check("selec 1")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_parquet('s3://bucket/file')",
        "SELECT * FROM read_json('https://example.invalid/x.json')",
        "SELECT * FROM duckdb_secrets()",
    ],
)
def test_files_and_network_are_out_of_reach(plain_store: FilledStore, sql: str) -> None:
    with pytest.raises(SqlRefusedError, match="DuckDB refused"):
        guarded_sql(plain_store.path, sql, 10, 30)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '/etc/passwd'",
        "SELECT getenv('HOME')",
        "SELECT * FROM batches",
        "SELECT nope FROM finding",
    ],
)
def test_unknown_names_are_usage_errors(plain_store: FilledStore, sql: str) -> None:
    with pytest.raises(UsageError, match="DuckDB says"):
        guarded_sql(plain_store.path, sql, 10, 30)


def test_rows_come_back_with_their_types(plain_store: FilledStore) -> None:
    table = guarded_sql(
        plain_store.path, "SELECT rank, name, layers, effect FROM finding ORDER BY run_id, rank", 3, 30
    )
    assert table.num_rows == 3
    assert table.schema.metadata == {TRUNCATED: b"1"}
    assert pa.types.is_list(table.schema.field("layers").type)
    assert table["rank"].to_pylist() == [1, 2, 3]
    exact = guarded_sql(plain_store.path, "SELECT * FROM range(3)", 3, 30)
    assert (exact.num_rows, exact.schema.metadata) == (3, None)
    empty = guarded_sql(plain_store.path, "SELECT rank FROM finding WHERE false", 3, 30)
    assert (empty.num_rows, empty.column_names) == (0, ["rank"])


def test_settings_are_locked_and_read_only(plain_store: FilledStore) -> None:
    rows = guarded_sql(
        plain_store.path,
        "SELECT name, value FROM duckdb_settings() WHERE name IN ('lock_configuration', 'enable_external_access', "
        "'autoload_known_extensions', 'autoinstall_known_extensions', 'access_mode', 'python_enable_replacements')",
        10,
        30,
    ).to_pylist()
    assert {row["name"]: row["value"] for row in rows} == {
        "access_mode": "read_only",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "enable_external_access": "false",
        "lock_configuration": "true",
        "python_enable_replacements": "false",
    }


def test_a_long_statement_is_killed(plain_store: FilledStore) -> None:
    # One row per iteration: a cross join of ranges would hit the memory limit before the time limit.
    endless = "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT count(*) FROM t"
    with pytest.raises(StoreError, match=r"longer than 1\.5 seconds"):
        guarded_sql(plain_store.path, endless, 10, 1.5)


def test_a_locked_store_names_the_holder(plain_store: FilledStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    shutil.copy(plain_store.path, copy)
    connect = f"c = duckdb.connect({json.dumps(str(copy))})"
    hold = f"import duckdb, sys; {connect}; print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreLockedError, match=f"process {holder.pid}"):
            guarded_sql(copy, "SELECT 1", 10, 30)
        assert holder.stdin is not None
        holder.stdin.close()


def test_a_missing_store_and_a_file_that_is_not_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        guarded_sql(tmp_path / "none.duckdb", "SELECT 1", 10, 30)
    (tmp_path / "text.duckdb").write_text("no database")
    with pytest.raises(StoreError, match="not a DuckDB file"):
        guarded_sql(tmp_path / "text.duckdb", "SELECT 1", 10, 30)
