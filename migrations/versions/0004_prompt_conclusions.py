"""Graded answers, accuracy, and how far prompts and categories tell the models apart.

Revision 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accuracy",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("n_prompts", sa.Integer(), nullable=False),
        sa.Column("n_clusters", sa.Integer(), nullable=False),
        sa.Column("chance", sa.Double(), nullable=False),
        sa.Column("base_accuracy", sa.Double(), nullable=False),
        sa.Column("base_low", sa.Double(), nullable=False),
        sa.Column("base_high", sa.Double(), nullable=False),
        sa.Column("base_right", sa.Integer(), nullable=False),
        sa.Column("base_wrong", sa.Integer(), nullable=False),
        sa.Column("base_unread", sa.Integer(), nullable=False),
        sa.Column("base_cut_off", sa.Integer(), nullable=False),
        sa.Column("base_right_cut_off", sa.Integer(), nullable=False),
        sa.Column("target_accuracy", sa.Double(), nullable=False),
        sa.Column("target_low", sa.Double(), nullable=False),
        sa.Column("target_high", sa.Double(), nullable=False),
        sa.Column("target_right", sa.Integer(), nullable=False),
        sa.Column("target_wrong", sa.Integer(), nullable=False),
        sa.Column("target_unread", sa.Integer(), nullable=False),
        sa.Column("target_cut_off", sa.Integer(), nullable=False),
        sa.Column("target_right_cut_off", sa.Integer(), nullable=False),
        sa.Column("difference", sa.Double(), nullable=False),
        sa.Column("difference_low", sa.Double(), nullable=False),
        sa.Column("difference_high", sa.Double(), nullable=False),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("p_adjusted", sa.Double(), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "part", "name", name=op.f("pk_accuracy")),
    )
    op.create_table(
        "answer_grade",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("correct", sa.Boolean(), nullable=True),
        sa.Column("extracted", sa.String(), nullable=True),
        sa.Column("how", sa.String(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "prompt_id", "author", name=op.f("pk_answer_grade")),
    )
    op.create_table(
        "category_discrimination",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("n_prompts", sa.Integer(), nullable=False),
        sa.Column("n_clusters", sa.Integer(), nullable=False),
        sa.Column("n_clusters_c", sa.Integer(), nullable=False),
        sa.Column("kl_symmetric", sa.Double(), nullable=False),
        sa.Column("kl_low", sa.Double(), nullable=True),
        sa.Column("kl_high", sa.Double(), nullable=True),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("agreement", sa.Double(), nullable=False),
        sa.Column("gap", sa.Double(), nullable=True),
        sa.Column("relative_difference", sa.Double(), nullable=True),
        sa.Column("smallest_detectable", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "category", name=op.f("pk_category_discrimination")),
    )
    op.create_table(
        "prompt_discrimination",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("kl_symmetric", sa.Double(), nullable=False),
        sa.Column("agreement", sa.Double(), nullable=False),
        sa.Column("gap", sa.Double(), nullable=True),
        sa.Column("relative_difference", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "prompt_id", name=op.f("pk_prompt_discrimination")),
    )


def downgrade() -> None:
    op.drop_table("prompt_discrimination")
    op.drop_table("category_discrimination")
    op.drop_table("answer_grade")
    op.drop_table("accuracy")
