"""The command `prompts discriminate`: ranks prompts and categories by how far apart the two models are on them."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Annotated, Any, Literal, TextIO

import typer

from fi_store.cli.common import FormatOption, OutputOption, RunArgument, StoreOption, emit, open_store

_PROMPTS = (
    "rank", "category", "prompt", "kl_symmetric", "gap", "agreement", "relative_difference", "base_grade",
    "target_grade",
)  # fmt: skip
_CATEGORIES = (
    "category", "n_prompts", "kl_symmetric", "kl_low", "kl_high", "share", "gap", "relative_difference",
    "n_grades_differ", "smallest_detectable",
)  # fmt: skip
"""The columns for people; the other columns (texts, answers, counts) are only in formats for programs."""


def discriminate(
    run_reference: RunArgument = "latest",
    by: Annotated[
        Literal["category", "prompt"] | None,
        typer.Option(
            "--by",
            help="Only these rows. By default, tables show both and the other formats show prompts.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many prompts.")] = 20,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Rank prompts and categories by how far apart the models are.

    Shows KL and gap in nats per answer token, the relative difference of the activations, the grades, and the smallest
    effect that a test on each category could detect, in standard deviations."""
    from fi_store.store import run_query
    from fi_store.summary import describe_discrimination

    with open_store(store) as opened:
        run_id = opened.run(run_reference).id
        paragraph = describe_discrimination(opened, run_id)
        categories = run_query(opened, "category_discrimination", run=run_id)
        prompts = run_query(opened, "prompt_discrimination", run=run_id, k=limit)
    if not paragraph:
        from fi_store.errors import NotFoundError

        raise NotFoundError(f"The run {run_id} is not analyzed yet.", hint=opened.command("analyze", run_id))
    if output_format not in ("table", "markdown"):
        emit(categories if by == "category" else prompts, output_format, output)
        return
    tables = [categories.select(_CATEGORIES)] if by != "prompt" else []
    tables += [prompts.select(_PROMPTS)] if by != "category" else []
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", encoding="utf-8") if output is not None else nullcontext(sys.stdout) as stream:
        _write(paragraph, tables, output_format, stream)


def _write(paragraph: str, tables: list[Any], output_format: str, stream: TextIO) -> None:
    """Writes the paragraph, then the tables, with empty lines between them."""
    from fi_store.formats import format_table
    from fi_store.safe_text import markdown, one_line

    text = one_line(paragraph)
    stream.write((markdown(text) if output_format == "markdown" else text) + "\n")
    for table in tables:
        stream.write("\n")
        format_table(table, output_format, stream)
