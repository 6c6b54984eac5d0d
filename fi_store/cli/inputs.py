"""The commands about what goes in: prompts and models."""

from __future__ import annotations

from collections import Counter
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
    say,
    size,
    store_path,
)

prompts_app = typer.Typer(help="The prompts: list, show, validate.", cls=ListByDefault)
models_app = typer.Typer(help="The models: list, show.", cls=ListByDefault)

FilesOption = Annotated[
    list[Path] | None, typer.Option("--prompts-file", help="Prompt files instead of the shipped suite.")
]


CacheOption = Annotated[Path | None, typer.Option("--cache-dir", help="Where converted models are kept.")]


@prompts_app.command("list")
def list_prompts(
    prompts_file: FilesOption = None, output_format: FormatOption = "table", output: OutputOption = None
) -> None:
    """List the categories with their number of prompts."""
    from fi_store.promptset import load_suite

    suite = load_suite(prompts_file or ())
    counts = Counter(prompt.category for prompt in suite.prompts)
    families = {name: {p.family for p in suite.prompts if p.category == name} for name in counts}
    emit(
        [
            {
                "category": name,
                "prompts": counts[name],
                "families": len(families[name]),
                "with_control": sum(p.control is not None for p in suite.prompts if p.category == name),
                "with_answer": sum(p.answer is not None for p in suite.prompts if p.category == name),
            }
            for name in suite.categories
        ],
        output_format,
        output,
    )


@prompts_app.command("show")
def show_prompts(
    category: Annotated[str | None, typer.Option("--category", help="Only this category.")] = None,
    prompts_file: FilesOption = None,
    output_format: FormatOption = "table",
    output: OutputOption = None,
) -> None:
    """Show the prompts themselves."""
    from fi_store.promptset import load_suite

    suite = load_suite(prompts_file or (), (category,) if category else ())
    emit(
        [
            {
                "id": p.key,
                "difficulty": p.difficulty,
                "text": p.text,
                "control": p.control,
                "answer": p.answer,
            }
            for p in suite.prompts
        ],
        output_format,
        output,
    )


@prompts_app.command("validate")
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML or JSON files.")],
) -> None:
    """Check prompt files: every complaint names the file and the line."""
    from fi_store.config import METHOD
    from fi_store.promptset import load_suite

    suite = load_suite(files)
    say(f"{len(suite.prompts)} prompts in {len(suite.categories)} categories: in order.")
    families = len({prompt.family for prompt in suite.prompts})
    needed = 2 * METHOD.min_nonzero_clusters
    if families < needed:
        say(f"Note: {families} families; under {needed} nothing can be tested (half of them confirm).")
    lacking = sum(prompt.control is None for prompt in suite.prompts)
    if lacking:
        say(f"Note: {lacking} prompts have no control text; names are judged more weakly without.")


@models_app.command("list")
def list_models(
    cache_dir: CacheOption = None,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """List the models on this machine, and those that the store's runs have read."""
    from extract.catalogue import known_models

    rows = [
        {
            "reference": known.reference,
            "where": known.state,
            "size": size(known.n_bytes),
            "place": str(known.place or ""),
        }
        for known in known_models(cache_dir)
    ]
    if store_path(store).exists():
        with open_store(store) as opened:
            for row in opened.rows(
                "SELECT reference, kind, weights_hash FROM model ORDER BY created_at, reference"
            ):
                place = f"{row['kind']}, weights {row['weights_hash'][:12]}"
                rows.append(
                    {"reference": row["reference"], "where": "in the store", "size": "", "place": place}
                )
    emit(rows, output_format, output)


@models_app.command("show")
def show_model(
    reference: Annotated[str, typer.Argument(metavar="MODEL", help="A reference as for --base-model.")],
    cache_dir: CacheOption = None,
    output_format: FormatOption = "table",
) -> None:
    """Show what a reference stands for.

    Shapes and fingerprints are read from its files; it is not run."""
    from extract.catalogue import describe_reference

    facts = describe_reference(reference, cache_dir)
    if output_format == "table":
        width = max(map(len, facts))
        for key, value in facts.items():
            say(f"{key.ljust(width)}  {value}")
    else:
        emit([facts], output_format)
