"""Writes to the store, and the small reads that the stages need.

Entities are written as SQLAlchemy objects, facts as Arrow tables. Every write is one transaction. Facts replace what
the same run and chunk wrote before, so a repeated chunk leaves no duplicate rows.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.orm import Session

from fi_store.commands import command_line
from fi_store.errors import NotFoundError, UsageError
from fi_store.store.engine import open_engine, transaction
from fi_store.store.tables import Base, Run, RunEvent


def now() -> dt.datetime:
    """The current time, with its time zone."""
    return dt.datetime.now(dt.UTC)


class Store:
    """An open store. It holds the file's lock until `close`; use it as a context manager."""

    def __init__(self, path: Path, engine: sa.Engine) -> None:
        self.path = path
        self._engine = engine

    @classmethod
    def open(cls, path: Path | str, *, create: bool = False, read_only: bool = False) -> Self:
        """Opens a store, or makes one if `create`. See `fi_store.store.engine.open_engine` for the errors."""
        path = Path(path)
        return cls(path, open_engine(path, create=create, read_only=read_only))

    @property
    def folder(self) -> Path:
        """The folder that paths in the store are relative to."""
        return self.path.parent

    def command(self, *words: object) -> str:
        """A `fi-store` command about this store, to print as a next step."""
        return command_line(*words, store=self.path)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back on any error."""
        with transaction(self._engine) as session:
            yield session

    def arrow(self, sql: str, **parameters: Any) -> pa.Table:
        """The rows of a query as an Arrow table. Parameters are written `$name`."""
        with self.session() as session:
            result: pa.Table = _raw(session).execute(sql, parameters or None).to_arrow_table()
            return result

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        return self.arrow(sql, **parameters).to_pylist()  # type: ignore[no-any-return]

    def event(
        self,
        run_id: str,
        stage: str,
        kind: str,
        message: str,
        *,
        value: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Runs `append_event` in a transaction of its own."""
        with self.session() as session:
            append_event(session, run_id, stage, kind, message, value=value, detail=detail)

    def set_state(self, run_id: str, state: str, stage: str) -> None:
        """Sets a run's state and logs the change."""
        with self.session() as session:
            run = session.get_one(Run, run_id)
            run.state = state
            if state in ("complete", "failed", "interrupted"):
                run.finished_at = now()
            append_event(session, run_id, stage, "state", state)

    def run(self, reference: str = "latest") -> Run:
        """The run with this id or unique prefix, or for `latest` the newest run that is not archived.

        Raises:
            NotFoundError: there is no such run.
            UsageError: several runs match the prefix.
        """
        with self.session() as session:
            if reference == "latest":
                query = sa.select(Run).where(~Run.archived).order_by(Run.id.desc()).limit(1)
            else:
                query = sa.select(Run).where(Run.id.startswith(reference, autoescape=True)).limit(2)
            found = list(session.scalars(query))
        if not found:
            what = "no run yet" if reference == "latest" else f"no run {reference!r}"
            raise NotFoundError(f"The store {self.path} has {what}.", hint=self.command("runs"))
        if len(found) > 1:
            raise UsageError(f"Several runs begin with {reference!r}.", hint=self.command("runs"))
        return found[0]


def add_missing(session: Session, objects: Sequence[Base]) -> None:
    """Adds the entities whose key is not in the store yet; leaves the others as they are."""
    for item in objects:
        key = sa.inspect(item).mapper.primary_key_from_instance(item)
        if session.get(type(item), tuple(key)) is None:
            session.add(item)


def append_event(
    session: Session,
    run_id: str,
    stage: str,
    kind: str,
    message: str,
    *,
    value: float | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Appends to a run's log. `kind` is state, timing (`value` in seconds), warning, choice or estimate."""
    last = session.scalar(sa.select(sa.func.max(RunEvent.number)).where(RunEvent.run_id == run_id))
    session.add(
        RunEvent(
            run_id=run_id,
            number=0 if last is None else last + 1,
            at=now(),
            stage=stage,
            kind=kind,
            message=message,
            value=value,
            detail=dict(detail) if detail is not None else None,
        )
    )
    session.flush()


def write_facts(
    session: Session,
    table: type[Base],
    rows: pa.Table | Mapping[str, Any] | Iterator[pa.Table],
    *,
    replace: Mapping[str, Any],
) -> int:
    """Deletes the rows that match `replace`, then inserts `rows` by column name; returns how many were inserted.

    Tables with the same columns may come one after the other, so that they are never in memory together. Columns
    missing from `rows` become NULL. An unknown column is an error.
    """
    session.flush()
    where = sa.and_(*(table.__table__.c[key] == value for key, value in replace.items()))
    session.execute(sa.delete(table.__table__).where(where))  # type: ignore[arg-type]
    insert = f'INSERT INTO "{table.__tablename__}" BY NAME SELECT * FROM '
    connection = _raw(session)
    if isinstance(rows, Iterator):
        # DuckDB would keep what Arrow hands to it until the transaction ends, but not what it reads itself.
        folder = Path(session.get_bind().engine.url.database or "").parent
        with tempfile.TemporaryDirectory(prefix="facts-", dir=folder) as spool:
            path = Path(spool) / "facts.parquet"
            count = _write_parquet(path, rows)
            if count:
                connection.execute(insert + "read_parquet($1)", [str(path)])
        return count
    incoming = rows if isinstance(rows, pa.Table) else pa.table(dict(rows))
    if incoming.num_rows:
        connection.register("incoming_facts", incoming)
        try:
            connection.execute(insert + "incoming_facts")
        finally:
            connection.unregister("incoming_facts")
    return int(incoming.num_rows)


def _write_parquet(path: Path, parts: Iterator[pa.Table]) -> int:
    """Writes tables one after the other into one file; returns the number of rows. Without tables there is no file."""
    from pyarrow import parquet

    first = next(parts, None)
    if first is None:
        return 0
    strings = [field.name for field in first.schema if not pa.types.is_primitive(field.type)]
    count = 0
    with parquet.ParquetWriter(path, first.schema, compression="none", use_dictionary=strings) as writer:
        for part in chain([first], parts):
            writer.write_table(part)
            count += part.num_rows
    return count


def _raw(session: Session) -> Any:
    """DuckDB's own connection, in the session's transaction."""
    return session.connection().connection.driver_connection
