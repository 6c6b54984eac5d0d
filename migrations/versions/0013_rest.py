"""Rows of predictions say how much probability either model puts on tokens that the other one lacks.

Revision 0013, after 0012. Extractions of earlier versions did not keep it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

COLUMNS = ("rest_base", "rest_target")


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("token_divergence", sa.Column(column, sa.Double(), nullable=True))


def downgrade() -> None:
    for column in COLUMNS:
        op.drop_column("token_divergence", column)
