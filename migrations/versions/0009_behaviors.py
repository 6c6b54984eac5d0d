"""What the answers do differently: behaviors with their rates and tests.

Revision 0009, after 0008. Runs that were analyzed before have none until they are analyzed again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

RATES = ("base", "base_low", "base_high", "target", "target_low", "target_high")


def upgrade() -> None:
    op.create_table(
        "behavior",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("predicate", sa.JSON(), nullable=False),
        sa.Column("phrase", sa.String(), nullable=False),
        sa.Column("words", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("concept", sa.String(), nullable=True),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("z", sa.Double(), nullable=False),
        sa.Column("p_discovery", sa.Double(), nullable=False),
        sa.Column("base_discovery", sa.Double(), nullable=False),
        sa.Column("target_discovery", sa.Double(), nullable=False),
        sa.Column("ahead_discovery", sa.Integer(), nullable=False),
        sa.Column("behind_discovery", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in RATES),
        sa.Column("n_clusters", sa.Integer(), nullable=False),
        sa.Column("ahead", sa.Integer(), nullable=False),
        sa.Column("behind", sa.Integer(), nullable=False),
        sa.Column("tested", sa.Boolean(), nullable=False),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("p_adjusted", sa.Double(), nullable=True),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_behavior")),
    )
    op.create_table(
        "behavior_rate",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("n_clusters", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in RATES),
        sa.PrimaryKeyConstraint("run_id", "number", "category", name=op.f("pk_behavior_rate")),
    )


def downgrade() -> None:
    op.drop_table("behavior_rate")
    op.drop_table("behavior")
