"""Log-probabilities of whole answers, the gap and what of it passes through each layer; shards of gradients.

Revision 0010, after 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SHARD_COLUMNS = (
    "run_id", "reader", "site", "layer", "chunk", "path", "first_row", "n_rows", "d_model", "dtype", "n_bytes",
    "state",
)  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "answer_logprob",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("logprob", sa.Double(), nullable=False),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("token_logprobs", sa.ARRAY(sa.REAL()), nullable=False),
        sa.Column("token_ends", sa.ARRAY(sa.Integer()), nullable=False),
    )
    op.create_table(
        "answer_gap",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("gap_base", sa.Double(), nullable=False),
        sa.Column("gap_target", sa.Double(), nullable=False),
        sa.Column("gap", sa.Double(), nullable=False),
    )
    op.create_table(
        "attribution",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("position_class", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=True),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("attribution", sa.Double(), nullable=False),
    )
    _remake_shards(sa.Column("kind", sa.String(), nullable=False), "'activation', ")


def downgrade() -> None:
    op.execute("DELETE FROM activation_shard WHERE kind <> 'activation'")
    _remake_shards(None, "")
    op.drop_table("attribution")
    op.drop_table("answer_gap")
    op.drop_table("answer_logprob")


def _remake_shards(kind: sa.Column[str] | None, value: str) -> None:
    """Makes the table of shards again with another key, because DuckDB cannot alter a key."""
    op.execute("CREATE TEMPORARY TABLE old_shard AS SELECT * FROM activation_shard")
    op.drop_table("activation_shard")
    op.create_table(
        "activation_shard",
        sa.Column("run_id", sa.String(), nullable=False),
        *([] if kind is None else [kind]),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("first_row", sa.Integer(), nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("d_model", sa.Integer(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint(
            "run_id",
            *([] if kind is None else ["kind"]),
            "reader",
            "site",
            "layer",
            "chunk",
            name=op.f("pk_activation_shard"),
        ),
    )
    columns = ", ".join(SHARD_COLUMNS)
    names = f"kind, {columns}" if kind is not None else columns
    op.execute(f"INSERT INTO activation_shard ({names}) SELECT {value}{columns} FROM old_shard")
    op.execute("DROP TABLE old_shard")
