"""Alembic's entry: runs the migrations on the connection that `fi_store.store.engine` (or alembic.ini) gives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from fi_store.store.tables import Base


def migrate(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        transaction_per_migration=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url") or "duckdb:///:memory:")
    with engine.connect() as opened:
        migrate(opened)
        opened.commit()
