"""The command `compare`: matches the results of two runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fi_store.cli.common import FormatOption, OutputOption, StoreOption, emit, open_store


def compare(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="The earlier run.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The later run.")],
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Match the results of two runs.

    Each result is stable, drifted, new or gone."""
    from analyze.compare import compare_runs

    with open_store(store, write=True) as opened:
        first, second = opened.run(run_a).id, opened.run(run_b).id
        compare_runs(opened, first, second)
        table = opened.arrow(
            "SELECT m.status, a.name AS name_a, b.name AS name_b, a.effect AS effect_a, b.effect AS effect_b,"
            " m.direction_cosine, m.profile_correlation,"
            " a.rank AS rank_a, b.rank AS rank_b"
            " FROM feature_match AS m"
            " LEFT JOIN finding AS a ON a.run_id = m.run_a AND a.group_id = m.group_a"
            " LEFT JOIN finding AS b ON b.run_id = m.run_b AND b.group_id = m.group_b"
            " WHERE m.run_a = $first AND m.run_b = $second ORDER BY m.number",
            first=first,
            second=second,
        )
    emit(table, output_format, output)
