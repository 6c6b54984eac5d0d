"""The command `report`: makes a run's report again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fi_store.cli.common import RunArgument, StoreOption, open_store
from fi_store.cli.running import open_display, print_files, show_progress


def report(
    run_reference: RunArgument = "latest",
    store: StoreOption = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Also copy the files into this folder.")
    ] = None,
    report_format: Annotated[
        str | None,
        typer.Option("--report-format", help="markdown, html or both. Default: the run's own setting."),
    ] = None,
    skip_visualization: Annotated[
        bool, typer.Option("--skip-visualization", help="Make the report without charts.")
    ] = False,
) -> None:
    """Make the report again, from the store alone."""
    from fi_store import workflow

    with open_store(store, write=True) as opened, open_display() as display:
        progress = show_progress(display)
        found = opened.run(run_reference)
        config = workflow.stored_config(found, **({"report_format": report_format} if report_format else {}))
        files = workflow.report(
            opened, found.id, progress, report_format=config.report_format, charts=not skip_visualization
        )
        files = workflow.export(opened, files, output_dir or opened.folder)
    print_files(files)
