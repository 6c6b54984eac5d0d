"""Prompts say which wrong answer their shortcut gives.

Revision 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prompt", sa.Column("failure_answer", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("prompt", "failure_answer")
