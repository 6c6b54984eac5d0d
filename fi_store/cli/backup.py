"""The command `backup`: copies a store into a new file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fi_store.cli.common import StoreOption, say, store_path
from fi_store.wording import size

TargetArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The new file; it must not end in .duckdb.")
]


def backup(target: TargetArgument, store: StoreOption = None) -> None:
    """Copy the store into a new file.

    The file appears only when it is complete."""
    from fi_store.store import back_up

    path = store_path(store)
    say(f"{target}: {size(back_up(path, target))}, a copy of {path} without activations.")
