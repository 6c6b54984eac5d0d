"""The command line: `fi-store COMMAND`. Each command imports what it needs only when it runs, so `--help` is fast.

At import, this package loads only typer, rich and the standard library.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException
from typer.main import get_command

from fi_store.cli import (
    analyze,
    backup,
    compare,
    db,
    demo,
    doctor,
    gc,
    history,
    ingest,
    models,
    prompts,
    prompts_discriminate,
    prompts_generate,
    query,
    report,
    run,
    runs,
    sql,
    verify,
)  # fmt: skip
from fi_store.cli.common import print_error, print_failure
from fi_store.errors import FiStoreError

INTERRUPTED = 130
"""Exit code after Ctrl-C, by shell convention: 128 + SIGINT."""

app = typer.Typer(
    name="fi-store",
    help="What changed between two language models, kept in a DuckDB store.",
    epilog="Start with: fi-store demo. Then: fi-store query top_findings.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help would import Markdown and pygments: half a second on a small machine
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("ingest")(ingest.ingest)
app.command("analyze")(analyze.analyze)
app.command("report")(report.report)
app.command("query")(query.query)
app.command("sql")(sql.sql)
app.command("compare")(compare.compare)
app.command("history")(history.history)
app.add_typer(runs.app, name="runs")
prompts.app.command("discriminate")(prompts_discriminate.discriminate)
prompts.app.command("generate")(prompts_generate.generate)
app.add_typer(prompts.app, name="prompts")
app.add_typer(models.app, name="models")
db.app.command("verify")(verify.verify)
db.app.command("backup")(backup.backup)
app.add_typer(db.app, name="db")
app.command("doctor")(doctor.doctor)
app.command("gc")(gc.gc)
app.command("verify")(verify.verify)
app.command("backup")(backup.backup)


def _version(wanted: bool) -> None:
    if wanted:
        from fi_store.versions import package_version

        typer.echo(f"fi-store {package_version()}")
        raise typer.Exit


@app.callback()
def _every_command(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; can be given anywhere.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What changed between two language models, kept in a DuckDB store."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 1 for a failure, 2 for wrong usage, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        given = ["--help"]
    debug = "--debug" in given
    if debug:
        given = ["--debug", *(item for item in given if item != "--debug")]
    _replace_missing_characters()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        code = get_command(app).main(given, prog_name="fi-store", standalone_mode=False)
    except BaseException as error:
        if debug and isinstance(error, Exception):
            traceback.print_exc()
        return _explain(error)
    if code == INTERRUPTED:  # Typer turns Ctrl-C into this exit code without a message
        print_error("Interrupted.")
    return code if isinstance(code, int) else 0


def _replace_missing_characters() -> None:
    """Makes a console or pipe whose encoding lacks a character show `?` for it instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _explain(error: BaseException) -> int:
    """Prints what went wrong; returns the exit code."""
    if isinstance(error, FiStoreError):
        return print_failure(error)
    if isinstance(error, TyperException):
        return _explain_usage(error)
    if isinstance(error, (Abort, KeyboardInterrupt)):
        print_error("Interrupted.")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader (head, less) has exited: print nothing, and leave nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, MemoryError):
        print_error(
            "Not enough memory.", "use fewer prompts (--limit-per-category) or a smaller --quantization"
        )
        return 1
    if isinstance(error, OSError):
        file = f"{error.filename}: " if error.filename else ""
        print_error(f"{file}{error.strerror or error}.", "repeat with --debug to see where")
        return 1
    if isinstance(error, Exception):
        print_error(
            f"Unexpected {type(error).__name__}: {error}", "repeat with --debug and report what it shows"
        )
        return 1
    raise error


def _explain_usage(error: TyperException) -> int:
    """Prints a wrong option or argument in the same form as every other error."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "fi-store"
    message = error.format_message()
    print_error(message if message.endswith((".", "?", ")")) else message + ".", f"{command} --help")
    return error.exit_code
