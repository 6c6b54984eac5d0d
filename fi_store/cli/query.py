"""The command `query`: runs a saved query."""

from __future__ import annotations

from typing import Annotated

import typer

from fi_store.cli.common import FormatOption, OutputOption, StoreOption, emit, open_store, say
from fi_store.errors import UsageError


def query(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A saved query. Without a name, all of them are listed."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter of the query. Repeat for more."),
    ] = None,
    describe: Annotated[
        bool, typer.Option("--describe", help="Show the query's parameters and SQL.")
    ] = False,
    output_format: FormatOption = "table",
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Run a saved query, such as top_findings.

    Without a name, list them."""
    from fi_store.store import get_query, list_queries, run_query

    if name is None:
        rows = [
            {
                "query": item.name,
                "parameters": [parameter.name for parameter in item.parameters],
                "description": item.description,
            }
            for item in list_queries()
        ]
        emit(rows, output_format, output)
        return
    if describe:
        found = get_query(name)
        say(f"{found.name}: {found.description}")
        for parameter in found.parameters:
            default = "required" if parameter.required else f"default {parameter.default}"
            say(f"  {parameter.name} ({parameter.type}, {default}): {parameter.description}")
        say(f"\n{found.sql}")
        return
    get_query(name)  # report a wrong name before a missing store
    parameters = _pairs(param or [])
    with open_store(store) as opened:
        emit(run_query(opened, name, **parameters), output_format, output)


def _pairs(texts: list[str]) -> dict[str, str]:
    """The KEY=VALUE texts as a mapping."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--param {text!r} is not KEY=VALUE.", hint="--param k=20")
        if key in pairs:
            raise UsageError(f"--param {key} is given twice.", hint="--param k=20")
        pairs[key] = value
    return pairs
