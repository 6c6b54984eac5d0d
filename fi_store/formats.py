"""Writes tables for people (terminal, Markdown) and for programs (CSV, JSON, Parquet).

Cells may contain text that a model wrote, so every format gets text that is safe to display (see `fi_store.safe_text`).
JSON and Parquet keep every character because programs read them; JSON escapes everything that is not ASCII.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, get_args

import pyarrow as pa

from fi_store.errors import UsageError
from fi_store.safe_text import markdown, one_line, spreadsheet_cell, token_label

if TYPE_CHECKING:
    from rich.table import Table

MAX_COLUMNS = 10
"""With more columns than this, the terminal shows each row as a block."""
FILE_WIDTH = 140
"""Line width in characters when the output is not a terminal."""

TableFormat = Literal["table", "csv", "json", "markdown", "parquet"]


def format_table(table: pa.Table, fmt: str, out: TextIO | Path | None = None) -> None:
    """Writes the table to a stream or file, by default to standard output.

    Raises:
        UsageError: the format is unknown, or it is Parquet and there is no file.
    """
    if fmt not in get_args(TableFormat):
        raise UsageError(f"There is no format {fmt!r}.", hint=f"one of {', '.join(get_args(TableFormat))}")
    if fmt == "parquet":
        _write_parquet(table, out)
    elif isinstance(out, Path):
        with out.open("w", encoding="utf-8", newline="") as stream:
            _WRITERS[fmt](table, stream)
    else:
        _WRITERS[fmt](table, out if out is not None else sys.stdout)


def _write_parquet(table: pa.Table, out: TextIO | Path | None) -> None:
    import pyarrow.parquet as pq

    if isinstance(out, Path):
        pq.write_table(table, out)
        return
    stream = out if out is not None else sys.stdout
    binary = getattr(stream, "buffer", None)
    if binary is None or stream.isatty():
        raise UsageError(
            "Parquet is a binary format and needs a file.",
            hint="add --output rows.parquet, or redirect: … --format parquet > rows.parquet",
        )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    binary.write(buffer.getvalue())


def _write_csv(table: pa.Table, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([_csv_cell(row[name]) for name in table.column_names])


def _csv_cell(value: Any) -> Any:
    """Numbers stay numbers (a negative number is not a formula); lists and structures become JSON."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return spreadsheet_cell(value if isinstance(value, str) else _json_text(value))


def _write_json(table: pa.Table, stream: TextIO) -> None:
    stream.write(_json_text(table.to_pylist(), indent=2) + "\n")


def _json_text(value: Any, indent: int | None = None) -> str:
    return json.dumps(finite(value), indent=indent, ensure_ascii=True, default=_plain)


def finite(value: Any) -> Any:
    """The value with NaN and infinities replaced by None, because JSON cannot express them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return str(value)


def _write_markdown(table: pa.Table, stream: TextIO) -> None:
    names = table.column_names
    stream.write("| " + " | ".join(markdown(name) for name in names) + " |\n")
    stream.write("|" + " --- |" * len(names) + "\n")
    for row in table.to_pylist():
        stream.write("| " + " | ".join(markdown(cell(row[name])) for name in names) + " |\n")


def _write_terminal(table: pa.Table, stream: TextIO) -> None:
    """A table, or one block per row when there are too many columns to read side by side."""
    from rich.console import Console
    from rich.text import Text

    width = None if stream.isatty() else FILE_WIDTH
    console = Console(file=stream, markup=False, highlight=False, emoji=False, width=width)
    if table.num_rows == 0:
        console.print(Text("No rows."))
    elif table.num_columns > MAX_COLUMNS:
        for number, row in enumerate(table.to_pylist(), start=1):
            console.print(Text(f"row {number} of {table.num_rows}", style="bold"))
            console.print(_record(row))
    else:
        console.print(_grid(table))


def _grid(table: pa.Table) -> Table:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(header_style="bold")
    for field in table.schema:
        number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        drawn.add_column(Text(field.name), justify="right" if number else "left", overflow="fold")
    for row in table.to_pylist():
        drawn.add_row(*(Text(cell(row[name])) for name in table.column_names))
    return drawn


def _record(row: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(justify="right", style="dim")
    drawn.add_column(overflow="fold")
    for name, value in row.items():
        if value is not None:
            drawn.add_row(Text(name), Text(cell(value)))
    drawn.add_row("", "")
    return drawn


def cell(value: Any) -> str:
    """A value on one line for people: four significant digits, lists with commas, control characters made visible."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, list | tuple):
        return ", ".join(token_label(item) if isinstance(item, str) else cell(item) for item in value)
    if isinstance(value, dict):
        return one_line(_json_text(value))
    return one_line(str(value))


_WRITERS: dict[str, Callable[[pa.Table, TextIO], None]] = {
    "table": _write_terminal,
    "csv": _write_csv,
    "json": _write_json,
    "markdown": _write_markdown,
}
