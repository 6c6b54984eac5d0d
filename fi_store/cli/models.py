"""The commands `models list|show|check`: the models on this machine, what a reference means, how a model is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fi_store.cli.common import (
    FormatOption,
    ListByDefault,
    OutputOption,
    StoreOption,
    emit,
    open_store,
    say,
    say_facts,
    store_path,
)
from fi_store.cli.options import takes_config
from fi_store.wording import size

app = typer.Typer(help="Show and check models: list, show, check.", cls=ListByDefault)


ReferenceArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model reference, as for --base-model.")
]
CacheOption = Annotated[Path | None, typer.Option("--cache-dir", help="Folder for converted models.")]


@app.command("list")
def list_models(
    cache_dir: CacheOption = None,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """List the models on this machine and those used by the store's runs."""
    from extract.models import known_models

    rows = [
        {
            "reference": known.reference,
            "where": known.state,
            "size": size(known.n_bytes),
            "place": str(known.path or ""),
        }
        for known in known_models(cache_dir)
    ]
    if store_path(store).exists():
        with open_store(store) as opened:
            for row in opened.rows(
                "SELECT reference, kind, weights_hash FROM model ORDER BY created_at, reference"
            ):
                weights = f"{row['kind']}, weights {row['weights_hash'][:12]}"
                rows.append(
                    {"reference": row["reference"], "where": "in the store", "size": "", "place": weights}
                )
    emit(rows, output_format, output)


@app.command("show")
def show_model(
    reference: ReferenceArgument,
    cache_dir: CacheOption = None,
    output_format: FormatOption = "table",
) -> None:
    """Show what a model reference means.

    Reads shapes and fingerprints from the files; does not run the model."""
    from extract.models import describe_reference

    facts = describe_reference(reference, cache_dir)
    if output_format == "table":
        say_facts(facts)
    else:
        emit([facts], output_format)


@app.command("check")
@takes_config(("cache_dir", "device", "quantization", "trust_remote_code"))
def check_model(
    options: dict[str, Any], reference: ReferenceArgument, output_format: FormatOption = "table"
) -> None:
    """Load a model and check in which ways it can be read.

    Compares what it predicts for texts together, after a common opening, and with keys and values with what it predicts
    for each text alone, and attention and MLP with what a layer adds. Differences are relative. Exits with code 1 if a
    run would refuse the model."""
    from extract.examination import examine, model_facts
    from extract.models import load_pair
    from fi_store.cli.running import open_display, show_progress

    with open_display() as display:
        progress = show_progress(display)
        pair = load_pair(reference, reference, note=progress.note, **options)
        for message in pair.warnings:
            progress.note(message, warning=True)
    if output_format == "table":
        say_facts(model_facts(pair))
        say()
    rows, summary = examine(pair)
    emit(rows, output_format)
    if output_format == "table":
        say(summary)
