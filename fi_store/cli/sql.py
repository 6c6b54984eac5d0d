"""The command `sql`: runs one read-only statement, guarded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fi_store.cli.common import FormatOption, OutputOption, StoreOption, emit, store_path


def sql(
    statement: Annotated[str, typer.Argument(metavar="SQL", help="One read-only statement.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most this many rows.")] = 1000,
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Stop the statement after this time."),
    ] = 30.0,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Read the store with SQL.

    Runs one read-only statement in a separate process with a time limit."""
    from fi_store.store import guarded_sql

    emit(
        guarded_sql(Path(store_path(store)), statement, limit=limit, timeout_s=timeout), output_format, output
    )
