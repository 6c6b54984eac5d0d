"""A group says on which categories it was tested; so far each was tested over all prompts.

Revision 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feature_group", sa.Column("scope", sa.ARRAY(sa.String()), nullable=True))
    op.execute("UPDATE feature_group SET scope = [] WHERE selected")


def downgrade() -> None:
    op.drop_column("feature_group", "scope")
