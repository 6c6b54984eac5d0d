"""Dictionary kinds: latent scaling, the mean shift beside dark matter, recurrence, figures that a kind may not have.

Revision 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OPTIONAL = ("ev_base_d", "ev_target_d", "ev_base_c", "ev_target_c", "dark_matter")


def upgrade() -> None:
    op.create_table(
        "latent_scaling",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("feature_id", sa.String(), nullable=False),
        sa.Column("candidate", sa.String(), nullable=False),
        sa.Column("relative_norm", sa.Double(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("n_clusters", sa.Integer(), nullable=False),
        sa.Column("beta_err_base", sa.Double(), nullable=False),
        sa.Column("beta_err_target", sa.Double(), nullable=False),
        sa.Column("beta_rec_base", sa.Double(), nullable=False),
        sa.Column("beta_rec_target", sa.Double(), nullable=False),
        sa.Column("beta_act_base", sa.Double(), nullable=False),
        sa.Column("beta_act_target", sa.Double(), nullable=False),
        sa.Column("nu_err", sa.Double(), nullable=True),
        sa.Column("nu_err_low", sa.Double(), nullable=True),
        sa.Column("nu_err_high", sa.Double(), nullable=True),
        sa.Column("nu_rec", sa.Double(), nullable=True),
        sa.Column("nu_rec_low", sa.Double(), nullable=True),
        sa.Column("nu_rec_high", sa.Double(), nullable=True),
        sa.Column("specific", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "feature_id", name=op.f("pk_latent_scaling")),
    )
    for column in OPTIONAL:
        op.alter_column("dictionary", column, existing_type=sa.Double(), nullable=True)
    op.add_column("dictionary", sa.Column("mean_shift", sa.Double(), nullable=True))
    op.add_column("feature_group", sa.Column("recurrence", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("feature_group", "recurrence")
    op.drop_column("dictionary", "mean_shift")
    for column in OPTIONAL:
        op.alter_column("dictionary", column, existing_type=sa.Double(), nullable=False)
    op.drop_table("latent_scaling")
