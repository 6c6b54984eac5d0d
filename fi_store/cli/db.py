"""The commands `db upgrade` and `db check`: a store's schema."""

from __future__ import annotations

import typer

from fi_store.cli.common import CheckByDefault, StoreOption, open_store, say, store_path

app = typer.Typer(help="Maintain the store's file: upgrade, check, verify, backup.", cls=CheckByDefault)


@app.command("upgrade")
def upgrade(store: StoreOption = None) -> None:
    """Upgrade the store to the newest schema.

    If there is no file, make an empty store."""
    from fi_store.store import head_revision, upgrade_schema

    path = store_path(store)
    upgrade_schema(path)
    say(f"{path} has schema {head_revision()}.")


@app.command("check")
def check(store: StoreOption = None) -> None:
    """Check that the store has the schema that this fi-store needs."""
    from fi_store.store import head_revision

    with open_store(store) as opened:
        say(f"{opened.path} has schema {head_revision()}, the newest one.")
