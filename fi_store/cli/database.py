"""The commands that care for a store: db, doctor, gc, verify, backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fi_store.cli.common import CheckByDefault, StoreOption, open_store, say, size, store_path

app = typer.Typer(help="The store's file: upgrade, check, verify, backup.", cls=CheckByDefault)

TargetArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The new file; it must not end in .duckdb.")
]


@app.command("upgrade")
def upgrade(store: StoreOption = None) -> None:
    """Bring the store to the newest schema.

    Where there is no file, an empty store is made."""
    from fi_store import db

    path = store_path(store)
    db.upgrade(path)
    say(f"{path} has schema {db.head_revision()}.")


@app.command("check")
def check(store: StoreOption = None) -> None:
    """Say which schema the store has and which one is needed."""
    from fi_store import db

    with open_store(store) as opened:
        say(f"{opened.path} has schema {db.head_revision()}, the newest that this fi-store knows.")


@app.command("verify")
def verify(store: StoreOption = None) -> None:
    """Read every value of every table.

    A damaged block is noticed only when it is read."""
    from fi_store.maintenance import read_every_column
    from fi_store.wording import count

    with open_store(store) as opened:
        counts = read_every_column(opened)
    rows = count(sum(counts.values()), "row")
    say(f"Every column of {count(len(counts), 'table')} was read ({rows}): in order.")


@app.command("backup")
def backup(target: TargetArgument, store: StoreOption = None) -> None:
    """Copy the store into a new file.

    The file appears only when it is whole."""
    from fi_store.maintenance import back_up

    path = store_path(store)
    say(f"{target}: {size(back_up(path, target))}, a copy of {path}. Activations are not in it.")


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


def gc(
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="The activations of this run.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove; without it the files are only listed.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """List or remove activations.

    Those of archived runs (or of --run), and files that the store does not know; removes with --apply only."""
    from fi_store.maintenance import apply_gc, plan_gc
    from fi_store.wording import count

    with open_store(store, write=apply) as opened:
        plan = plan_gc(opened, opened.run(run).id if run is not None else None)
        for item in plan:
            files = count(len(item.paths), "file")
            say(f"{item.run_id or 'no run'}: {files}, {size(item.n_bytes)} ({item.reason})")
        total = sum(item.n_bytes for item in plan)
        if not plan:
            say("Nothing to remove.")
        elif apply:
            say(f"Removed {size(apply_gc(opened, plan))}; results stay.")
        else:
            say(f"{size(total)} can be removed. Next: the same with --apply")
