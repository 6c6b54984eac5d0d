"""The commands `runs list|show|archive|unarchive`: the runs of a store."""

from __future__ import annotations

from typing import Annotated

import typer

from fi_store.cli.common import (
    FormatOption,
    ListByDefault,
    OutputOption,
    RunArgument,
    StoreOption,
    emit,
    open_store,
    say,
)

app = typer.Typer(help="Manage a store's runs: list, show, archive.", cls=ListByDefault)


@app.command("list")
def list_runs(
    archived: Annotated[bool, typer.Option("--archived", help="Include archived runs.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many runs.")] = 50,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """List the runs, newest first."""
    from fi_store.store import run_query

    with open_store(store) as opened:
        table = run_query(opened, "run_history", k=limit, archived=archived)
    if output_format == "table":
        table = table.select(
            [
                "run_id",
                "created_at",
                "state",
                "base",
                "target",
                "prompts",
                "n_prompts",
                "verdict",
                "n_results",
            ]
        )
    emit(table, output_format, output)


@app.command("show")
def show(run_reference: RunArgument = "latest", store: StoreOption = None) -> None:
    """Show one run.

    Prints its pair, state, configuration, choices, warnings and first results."""
    from fi_store.store import run_query
    from fi_store.summary import describe_run

    with open_store(store) as opened:
        found = opened.run(run_reference)
        say(f"Run:    {found.id} ({found.state}{', archived' if found.archived else ''})")
        say(f"Base:   {found.base_reference}\nTarget: {found.target_reference}")
        say(f"Device: {found.device}, {found.dtype}: {found.dtype_reason}")
        if found.extraction_run_id != found.id:
            say(f"Activations: those of run {found.extraction_run_id}")
        for row in run_query(opened, "run_warnings", run=found.id, choices=True).to_pylist():
            say(f"{row['kind'].capitalize()} ({row['stage']}): {row['message']}")
        for key, value in found.config.items():
            say(f"  {key} = {value}")
        for line in describe_run(opened, found.id):
            say(line)


@app.command("archive")
def archive(run_reference: RunArgument, store: StoreOption = None) -> None:
    """Hide a run from queries and `latest`.

    Its rows are kept; gc may then remove its activations."""
    _set_archived(run_reference, store, archived=True)


@app.command("unarchive")
def unarchive(run_reference: RunArgument, store: StoreOption = None) -> None:
    """Make an archived run visible again."""
    _set_archived(run_reference, store, archived=False)


def _set_archived(run_reference: str, store: StoreOption, *, archived: bool) -> None:
    from fi_store.store.tables import Run

    with open_store(store, write=True) as opened:
        run_id = opened.run(run_reference).id
        with opened.session() as session:
            session.get_one(Run, run_id).archived = archived
    say(f"Run {run_id} is {'archived' if archived else 'visible again'}.")
