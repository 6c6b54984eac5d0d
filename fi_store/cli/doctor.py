"""The command `doctor`: checks the machine and the store."""

from __future__ import annotations

import typer

from fi_store.cli.common import StoreOption, say, store_path


def doctor(store: StoreOption = None) -> None:
    """Check this machine and the store.

    Exits with code 1 if something needs attention."""
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
