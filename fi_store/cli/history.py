"""The command `history`: the results of all runs in chronological order."""

from __future__ import annotations

from typing import Annotated

import typer

from fi_store.cli.common import FormatOption, OutputOption, StoreOption, emit, open_store


def history(
    base: Annotated[
        str | None, typer.Option("--base", metavar="TEXT", help="Only bases whose reference contains this.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="TEXT", help="Only targets whose reference contains this."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many results per run.")] = 5,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Show the results of all runs in chronological order.

    One row per result: what appeared, what disappeared, how strong it is."""
    with open_store(store) as opened:
        table = opened.arrow(
            "SELECT run.created_at, left(run.id, 13) AS run, run.base_reference AS base,"
            " run.target_reference AS target, gate.verdict, gate.gap, finding.rank, finding.change, finding.name,"
            " finding.effect, finding.ci_low, finding.ci_high, finding.share_closed"
            " FROM run JOIN pair_gate AS gate ON gate.run_id = run.id"
            " LEFT JOIN finding ON finding.run_id = run.id AND finding.tier <> 'internal_shift'"
            " AND finding.rank <= $k"
            " WHERE NOT run.archived AND ($base::VARCHAR IS NULL OR contains(run.base_reference, $base))"
            " AND ($target::VARCHAR IS NULL OR contains(run.target_reference, $target))"
            " ORDER BY run.id, finding.rank",
            base=base,
            target=target,
            k=limit,
        )
    emit(table, output_format, output)
