"""The commands `db upgrade` and `db check`: the schema of a store."""

from __future__ import annotations

import typer

from fi_store.cli.common import CheckByDefault, StoreOption, open_store, say, store_path

app = typer.Typer(help="The store's file: upgrade, check, verify, backup.", cls=CheckByDefault)


@app.command("upgrade")
def upgrade(store: StoreOption = None) -> None:
    """Bring the store to the newest schema.

    Where there is no file, an empty store is made."""
    from fi_store.store import head_revision, upgrade_schema

    path = store_path(store)
    upgrade_schema(path)
    say(f"{path} has schema {head_revision()}.")


@app.command("check")
def check(store: StoreOption = None) -> None:
    """Say which schema the store has and which one is needed."""
    from fi_store.store import head_revision

    with open_store(store) as opened:
        say(f"{opened.path} has schema {head_revision()}, the newest that this fi-store knows.")
