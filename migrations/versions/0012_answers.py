"""Answers keep the tokens that their author wrote, and say where the thinking before them ends.

Revision 0012, after 0011. Answers of earlier versions were stored as text alone and read as a whole.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("generation", sa.Column("ids", sa.ARRAY(sa.Integer()), nullable=True))
    op.add_column("generation", sa.Column("answer_start", sa.Integer(), nullable=True))
    op.add_column("generation", sa.Column("drifts", sa.Boolean(), nullable=True))
    op.add_column("patched_answer", sa.Column("answer_start", sa.Integer(), nullable=True))
    op.execute("UPDATE generation SET answer_start = 0, drifts = false")
    op.execute("UPDATE patched_answer SET answer_start = 0")


def downgrade() -> None:
    op.drop_column("patched_answer", "answer_start")
    for column in ("drifts", "answer_start", "ids"):
        op.drop_column("generation", column)
