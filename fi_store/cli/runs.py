"""The commands across runs: list, show, archive, compare, history."""

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

app = typer.Typer(help="The runs of a store: list, show, archive.", cls=ListByDefault)


@app.command("list")
def list_runs(
    archived: Annotated[bool, typer.Option("--archived", help="Archived runs too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """List the runs, newest first."""
    from fi_store.query import run_query

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

    Its pair, state, configuration, choices, warnings and first results."""
    from fi_store.query import run_query
    from fi_store.results import describe_run

    with open_store(store) as opened:
        found = opened.run(run_reference)
        say(f"Run:    {found.id} ({found.state}{', archived' if found.archived else ''})")
        say(f"Base:   {found.base_reference}\nTarget: {found.target_reference}")
        say(f"Device: {found.device}, {found.dtype}: {found.dtype_reason}")
        if found.extraction_run_id != found.id:
            say(f"Activations of run {found.extraction_run_id}")
        for row in run_query(opened, "run_warnings", run=found.id, choices=True).to_pylist():
            say(f"{row['kind'].capitalize()} ({row['stage']}): {row['message']}")
        for key, value in found.config.items():
            say(f"  {key} = {value}")
        for line in describe_run(opened, found.id):
            say(line)


@app.command("archive")
def archive(run_reference: RunArgument, store: StoreOption = None) -> None:
    """Hide a run from queries and `latest`.

    Its rows stay; its activations become removable (gc)."""
    _set_archived(run_reference, store, archived=True)


@app.command("unarchive")
def unarchive(run_reference: RunArgument, store: StoreOption = None) -> None:
    """Show an archived run again."""
    _set_archived(run_reference, store, archived=False)


def _set_archived(run_reference: str, store: StoreOption, *, archived: bool) -> None:
    from fi_store.schema import Run

    with open_store(store, write=True) as opened:
        run_id = opened.run(run_reference).id
        with opened.session() as unit:
            unit.get_one(Run, run_id).archived = archived
    say(f"Run {run_id} is {'archived' if archived else 'shown again'}.")


def compare(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="The earlier run.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The later run.")],
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Match the results of two runs.

    Each is stable, drifted, new or gone."""
    from analyze.match import compare_runs

    with open_store(store, write=True) as opened:
        first, second = opened.run(run_a).id, opened.run(run_b).id
        compare_runs(opened, first, second)
        table = opened.arrow(
            "SELECT m.status, a.name AS name_a, b.name AS name_b, a.effect AS effect_a, b.effect AS effect_b,"
            " one.scope AS scope_a, two.scope AS scope_b, m.direction_cosine, m.profile_correlation,"
            " a.rank AS rank_a, b.rank AS rank_b"
            " FROM feature_match AS m"
            " LEFT JOIN finding AS a ON a.run_id = m.run_a AND a.group_id = m.group_a"
            " LEFT JOIN finding AS b ON b.run_id = m.run_b AND b.group_id = m.group_b"
            " LEFT JOIN feature_group AS one ON one.run_id = m.run_a AND one.id = m.group_a"
            " LEFT JOIN feature_group AS two ON two.run_id = m.run_b AND two.id = m.group_b"
            " WHERE m.run_a = $first AND m.run_b = $second ORDER BY m.number",
            first=first,
            second=second,
        )
    emit(table, output_format, output)


def history(
    base: Annotated[
        str | None, typer.Option("--base", metavar="TEXT", help="Bases whose reference holds this.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="TEXT", help="Targets whose reference holds this.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Results of each run at most.")] = 5,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Show the results of all runs in order of time.

    One row a result: what came, what went, how strong."""
    with open_store(store) as opened:
        table = opened.arrow(
            "SELECT run.created_at, left(run.id, 13) AS run, run.base_reference AS base,"
            " run.target_reference AS target, gate.verdict, gate.gap, finding.rank, finding.change, finding.name,"
            " finding.effect, finding.ci_low, finding.ci_high, own.scope"
            " FROM run JOIN pair_gate AS gate ON gate.run_id = run.id"
            " LEFT JOIN finding ON finding.run_id = run.id AND finding.tier <> 'internal_shift'"
            " AND finding.rank <= $k"
            " LEFT JOIN feature_group AS own ON own.run_id = run.id AND own.id = finding.group_id"
            " WHERE NOT run.archived AND ($base::VARCHAR IS NULL OR contains(run.base_reference, $base))"
            " AND ($target::VARCHAR IS NULL OR contains(run.target_reference, $target))"
            " ORDER BY run.id, finding.rank",
            base=base,
            target=target,
            k=limit,
        )
    emit(table, output_format, output)
