"""The command `history`: the results of all runs in order of time."""

from __future__ import annotations

from typing import Annotated

import typer

from fi_store.cli.common import FormatOption, OutputOption, StoreOption, emit, open_store


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
