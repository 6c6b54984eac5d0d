"""The command `doctor`: looks at the machine and the store."""

from __future__ import annotations

import typer

from fi_store.cli.common import StoreOption, say, store_path


def doctor(store: StoreOption = None) -> None:
    """Look at this machine and the store.

    Exit code 1 when something needs care."""
    from fi_store.doctor import examine

    worst = "ok"
    for found in examine(store_path(store)):
        say(f"{found.level:<8} {found.what}")
        if found.hint:
            say(f"{'':<8} Next: {found.hint}")
        if found.level == "problem":
            worst = "problem"
    if worst == "problem":
        raise typer.Exit(1)
