"""What all commands share: common options, opening the store, printing tables and errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from fi_store.commands import DEFAULT_STORE
from fi_store.errors import FiStoreError
from fi_store.safe_text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fi_store.store import Store

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", envvar="FI_STORE", help="The DuckDB file.", show_default=str(DEFAULT_STORE)),
]


class ListByDefault(TyperGroup):
    """A group that runs `list` when no command is given: `fi-store runs` lists the runs."""

    default_command = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        wants_help = bool(args) and args[0] in ctx.help_option_names
        if not args or (args[0].startswith("-") and not wants_help):
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


class CheckByDefault(ListByDefault):
    """A group that runs `check` when no command is given."""

    default_command = "check"


RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run: its id, a unique prefix of it, or latest.")
]
FormatOption = Annotated[
    Literal["table", "csv", "json", "markdown", "parquet"],
    typer.Option("--format", help="Output format."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of the screen."),
]


def say(text: str = "") -> None:
    """Prints a result on stdout, with control characters made visible because models may have written it."""
    sys.stdout.write(visible(text, keep_newlines=True) + "\n")


def store_path(given: Path | None) -> Path:
    """The store that a command uses."""
    return given if given is not None else DEFAULT_STORE


def open_store(given: Path | None, *, write: bool = False) -> Store:
    """Opens the store, read-only unless `write`. Readers can share it; a writer locks out all others."""
    from fi_store.store import Store

    return Store.open(store_path(given), read_only=not write)


def emit(rows: Sequence[dict[str, Any]] | Any, output_format: str, output: Path | None = None) -> None:
    """Writes rows (dictionaries or an Arrow table) in the given format, to the screen or to a file."""
    import pyarrow as pa

    from fi_store.formats import format_table

    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    format_table(table, output_format, output)


def say_facts(facts: dict[str, Any]) -> None:
    """Prints facts as aligned lines of key and value."""
    width = max(map(len, facts))
    for key, value in facts.items():
        say(f"{key.ljust(width)}  {value}")


def print_error(message: str, hint: str = "") -> None:
    """Prints an error for people: one sentence, then the next command."""
    sys.stderr.write(f"Error: {visible(message.strip(), keep_newlines=True)}\n")
    if hint:
        sys.stderr.write(f"Next: {visible(hint)}\n")


def print_failure(error: FiStoreError) -> int:
    """Prints an expected failure; returns its exit code."""
    print_error(str(error), error.hint)
    return error.exit_code
