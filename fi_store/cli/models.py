"""The commands `models list|show`: the models on this machine, and what a model reference means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fi_store.cli.common import (
    FormatOption,
    ListByDefault,
    OutputOption,
    StoreOption,
    emit,
    open_store,
    say_facts,
    store_path,
)
from fi_store.wording import size

app = typer.Typer(help="Show the available models: list, show.", cls=ListByDefault)


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
    reference: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model reference, as for --base-model.")
    ],
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
