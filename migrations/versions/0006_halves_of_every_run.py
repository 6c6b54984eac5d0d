"""Every run has its units, also one that reads an earlier extraction: its halves are its own.

Revision 0006, after 0005.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "INSERT INTO run_unit SELECT r.id, u.prompt_id, u.unit, u.cluster, u.category, u.half"
        " FROM run r JOIN run_unit u ON u.run_id = r.extraction_run_id WHERE r.id <> r.extraction_run_id"
    )


def downgrade() -> None:
    op.execute("DELETE FROM run_unit WHERE run_id IN (SELECT id FROM run WHERE id <> extraction_run_id)")
