"""Runs one read-only SQL statement on a store in a separate process, without files, network, settings or extensions.

The parent (`guarded_sql`) sends the statement to this module in a new process, reads the rows back as an Arrow stream,
and kills the process when its time is up (DuckDB 1.5 has no time limit of its own). In the child, DuckDB's own parser
decides what is allowed, and a read-only connection with locked settings backs up that decision.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa

from fi_store.errors import FiStoreError, NotFoundError, SqlRefusedError, StoreError, UsageError

TRUNCATED = b"fi_store.truncated"
"""Metadata key that the result's schema carries when there were more rows than the limit."""
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": "1GB",
    "temp_directory": "",
}
_EXPLAIN = re.compile(r"\s*EXPLAIN\s*(?:ANALYZE\s+|\([^)]*\)\s*)?", re.IGNORECASE)
_ANY_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_CALL = re.compile(r'"?(\w+)"?\s*\(')
_FORBIDDEN_FUNCTIONS = frozenset(
    {"enable_logging", "disable_logging", "set_log_level", "set_log_type", "truncate_duckdb_logs", "enable_profiling",
     "disable_profiling", "checkpoint", "force_checkpoint", "nextval"}
)  # fmt: skip
"""Functions that a SELECT could call to change the connection (they cannot reach files, and settings are locked)."""
_ERRORS = {"refused": SqlRefusedError, "usage": UsageError, "store": StoreError}


def guarded_sql(path: Path, sql: str, limit: int = 1000, timeout_s: float = 30.0) -> pa.Table:
    """The rows of one read-only statement, at most `limit` of them (see `TRUNCATED`).

    Raises:
        NotFoundError: there is no store at `path`.
        SqlRefusedError: there is more than one statement, or it does more than read this store.
        UsageError: DuckDB does not understand the SQL, or a table or column is unknown.
        StoreError: the time is up, or the store cannot be opened (another process has it open).
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"There is no store at {path}.", hint="name it with --store FILE")
    request = json.dumps({"path": str(path.resolve()), "sql": sql, "limit": limit})
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "fi_store.store.sqlguard"],
            input=request.encode(),
            capture_output=True,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StoreError(
            f"The statement took longer than {timeout_s:g} seconds and was stopped.",
            hint="narrow it with WHERE run_id = …, or raise --timeout",
        ) from error
    if child.returncode == 0:
        with pa.ipc.open_stream(child.stdout) as reader:
            return reader.read_all()
    raise _error_of(child.stderr, path)


def _error_of(stderr: bytes, path: Path) -> FiStoreError:
    last = stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
    try:
        report = json.loads(last[0])
        kind, message, hint = report["kind"], report["message"], report["hint"]
    except (ValueError, KeyError, TypeError):
        return StoreError(f"The process that reads {path} failed: {last[0] or 'no error message'}.")
    if kind == "database":
        from fi_store.store.engine import explain

        return explain(message, path)
    return _ERRORS[kind](message, hint=hint)


def check(sql: str) -> str:
    """The single statement in `sql`, if it only reads.

    Raises:
        SqlRefusedError: there is no statement, more than one, or one that does more than read.
        UsageError: DuckDB's parser does not understand the statement.
    """
    statement = _single(sql)
    if statement.type == duckdb.StatementType.EXPLAIN:
        inner = _single(_EXPLAIN.sub("", _ANY_COMMENT.sub(" ", statement.query), count=1))
        if inner.type != duckdb.StatementType.SELECT:
            raise _refused(f"EXPLAIN of {_kind(inner)}")
    elif statement.type != duckdb.StatementType.SELECT:
        raise _refused(_kind(statement))
    # This also matches inside strings and comments: better to refuse a harmless statement than to run a harmful one.
    called = {word.lower() for word in _CALL.findall(_ANY_COMMENT.sub(" ", sql) + " " + sql)}
    if called & _FORBIDDEN_FUNCTIONS:
        raise _refused(f"the function {min(called & _FORBIDDEN_FUNCTIONS)}")
    return statement.query


def _single(sql: str) -> duckdb.Statement:
    # Parsing alone can read files (IMPORT DATABASE does), so the parser has no file access either.
    try:
        with duckdb.connect(":memory:", config=_SETTINGS) as parser:
            statements = parser.extract_statements(sql)
    except duckdb.PermissionException as error:
        raise _refused("a statement that reads files") from error
    except duckdb.Error as error:
        raise UsageError(f"This is not SQL that DuckDB understands: {_first_line(error)}") from error
    if len(statements) != 1:
        count = "no statement" if not statements else f"{len(statements)} statements"
        raise SqlRefusedError(
            f"Exactly one read-only statement is needed; this is {count}.", hint='fi-store sql "SELECT …"'
        )
    return statements[0]


def _kind(statement: duckdb.Statement) -> str:
    return f"a statement of kind {statement.type.name}"


def _refused(what: str) -> SqlRefusedError:
    return SqlRefusedError(
        f"Only read-only statements are allowed; this is {what}.",
        hint='fi-store sql "SELECT …", or fi-store query',
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _read(path: str, sql: str, limit: int, out: IO[bytes]) -> None:
    """Runs the checked statement on a read-only connection whose settings are locked, and streams Arrow to `out`."""
    statement = check(sql)
    with duckdb.connect(path, read_only=True, config=_SETTINGS) as connection:
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET lock_configuration = true")
        reader = connection.execute(statement).to_arrow_reader(2048)
        batches: list[pa.RecordBatch] = []
        left, truncated = limit, False
        for batch in reader:
            truncated = batch.num_rows > left
            batches.append(batch.slice(0, left))
            left -= batches[-1].num_rows
            if truncated:
                break
        schema = reader.schema.with_metadata({TRUNCATED: b"1"}) if truncated else reader.schema
        with pa.ipc.new_stream(out, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _main() -> int:
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    try:
        _read(request["path"], request["sql"], request["limit"], sys.stdout.buffer)
    except SqlRefusedError as error:
        return _fail("refused", str(error), error.hint)
    except UsageError as error:
        return _fail("usage", str(error), error.hint)
    except (duckdb.PermissionException, duckdb.InvalidInputException) as error:
        return _fail(
            "refused", f"DuckDB refused: {_first_line(error)}", "only reading from this store is allowed"
        )
    except (duckdb.IOException, duckdb.ConnectionException) as error:
        return _fail("database", str(error))
    except duckdb.Error as error:
        return _fail(
            "usage", f"DuckDB says: {_first_line(error)}", 'list the tables with: fi-store sql "SHOW TABLES"'
        )
    return 0


def _fail(kind: str, message: str, hint: str = "") -> int:
    sys.stderr.write(json.dumps({"kind": kind, "message": message, "hint": hint}) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(_main())
