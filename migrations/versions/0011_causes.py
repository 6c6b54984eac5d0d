"""The causal test: arms, requests, what patched models do, and findings that say what a patch closes.

Revision 0011, after 0010. Results of version 1 keep their sentences. What its shams and its spliced reconstructions
showed becomes an event of the run and two columns of `dictionary`, since nothing measures either any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

REALS = sa.ARRAY(sa.REAL())
INTEGERS = sa.ARRAY(sa.Integer())
STRINGS = sa.ARRAY(sa.String())
NEW_FINDING_COLUMNS = (
    ("share_high", sa.Double()),
    ("words", STRINGS),
    ("phrase", sa.String()),
    ("behavior", sa.Integer()),
    ("rate_patched", sa.Double()),
    ("rate_control", sa.Double()),
    ("rate_clean", sa.Double()),
    ("n_generated", sa.Integer()),
    ("share_control", sa.Double()),
    ("share_behavior", sa.Double()),
    ("ceiling", sa.Double()),
    ("side", sa.String()),
    ("layer", sa.Integer()),
    ("change_inside", sa.String()),
    ("features", STRINGS),
)
LOSSES = """
CREATE TEMPORARY TABLE recovered AS
WITH loss AS (
    SELECT request_id, reader, sum(loss * n_tokens) FILTER (arm = 'clean') AS clean,
           sum(loss * n_tokens) FILTER (arm = 'spliced') AS spliced,
           sum(loss * n_tokens) FILTER (arm = 'ablated') AS ablated
    FROM intervention GROUP BY request_id, reader
)
SELECT r.dictionary_id, l.reader, 1 - (l.spliced - l.clean) / (l.ablated - l.clean) AS share
FROM probe_request AS r JOIN loss AS l ON l.request_id = r.id
WHERE r.kind = 'splice' AND l.ablated > l.clean
"""
SHAMS = """
INSERT INTO run_event (run_id, number, "at", stage, kind, message)
SELECT r.id, coalesce((SELECT max(e.number) FROM run_event AS e WHERE e.run_id = r.id) + 1, 0), now(), 'analyze',
       'choice',
       'Version 1 compared with ' || count(*) || CASE WHEN count(*) = 1 THEN ' sham target' ELSE ' sham targets' END
       || coalesce('; ' || sum(s.n_confirmed) || ' of their groups held on the confirmation half.', '.')
FROM run AS r JOIN sham_target AS t ON t.run_id = r.extraction_run_id
LEFT JOIN sham_result AS s ON s.run_id = r.id AND s.number = t.number
GROUP BY r.id
"""

OPTIONS = """
UPDATE run SET config = json_merge_patch(
    config,
    '{"shams": null, "skip_probes": null, "feature_threshold": 0.03}',
    json_object(
        'interventions',
        CASE WHEN json_extract_string(config, '$.skip_probes') = 'true' THEN 'off' ELSE 'default' END
    )
)
"""
SHAM_SHARDS = "DELETE FROM activation_shard WHERE reader NOT IN ('base', 'target')"
"""Their files are then unknown to the store, so `fi-store gc` removes them."""


def upgrade() -> None:
    for side in ("base", "target"):
        op.add_column("dictionary", sa.Column(f"loss_recovered_{side}", sa.Double(), nullable=True))
    op.execute(LOSSES)
    for side in ("base", "target"):
        op.execute(
            f"UPDATE dictionary SET loss_recovered_{side} = r.share FROM recovered AS r"
            f" WHERE r.dictionary_id = dictionary.id AND r.reader = '{side}'"
        )
    op.execute("DROP TABLE recovered")
    op.execute(SHAMS)
    op.execute(SHAM_SHARDS)
    op.execute(OPTIONS)
    for name in ("probe_request", "intervention", "sham_result", "sham_target"):
        op.drop_table(name)
    op.drop_column("feature_group", "scope")
    op.drop_column("feature_summary", "q_explore")
    for name, kind in NEW_FINDING_COLUMNS:
        op.add_column("finding", sa.Column(name, kind, nullable=True))
    op.execute("ALTER TABLE finding ALTER COLUMN floor DROP NOT NULL")
    op.execute("ALTER TABLE finding ALTER COLUMN q_value DROP NOT NULL")
    _create_tables()


def _create_tables() -> None:
    op.create_table(
        "arm",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("group_id", sa.String(), nullable=True),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("position_classes", STRINGS, nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("n_directions", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", "run_id", name=op.f("pk_arm")),
    )
    op.create_table(
        "probe_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("arm_id", sa.String(), nullable=True),
        sa.Column("prompt_ids", STRINGS, nullable=False),
        sa.Column("words", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probe_request")),
    )
    op.create_table(
        "intervention",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("logprob", sa.Double(), nullable=False),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("token_logprobs", REALS, nullable=False),
        sa.Column("pushed_ids", INTEGERS, nullable=False),
        sa.Column("pushed_nats", REALS, nullable=False),
        sa.Column("pulled_ids", INTEGERS, nullable=False),
        sa.Column("pulled_nats", REALS, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "prompt_id", "author", name=op.f("pk_intervention")),
    )
    op.create_table(
        "patched_answer",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "prompt_id", name=op.f("pk_patched_answer")),
    )
    op.create_table(
        "arm_effect",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("arm_id", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        *(
            sa.Column(name, sa.Double(), nullable=False)
            for name in ("closed", "share", "share_low", "share_high")
        ),
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("attributed", "p_value", "p_adjusted")),
        sa.Column("n_units", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "arm_id", "side", name=op.f("pk_arm_effect")),
    )
    op.create_table(
        "behavior_share",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("group_id", sa.String(), nullable=False),
        sa.Column("behavior", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("share", "share_low", "share_high")),
        sa.Column("n_units", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "group_id", "behavior", "side", name=op.f("pk_behavior_share")),
    )


def downgrade() -> None:
    for name in ("behavior_share", "arm_effect", "patched_answer", "intervention", "probe_request", "arm"):
        op.drop_table(name)
    op.execute("DELETE FROM finding WHERE floor IS NULL OR q_value IS NULL")
    op.execute("ALTER TABLE finding ALTER COLUMN floor SET NOT NULL")
    op.execute("ALTER TABLE finding ALTER COLUMN q_value SET NOT NULL")
    for name, _ in reversed(NEW_FINDING_COLUMNS):
        op.drop_column("finding", name)
    op.add_column("feature_summary", sa.Column("q_explore", sa.Double(), nullable=True))
    op.add_column("feature_group", sa.Column("scope", STRINGS, nullable=True))
    for side in ("target", "base"):
        op.drop_column("dictionary", f"loss_recovered_{side}")
    op.create_table(
        "sham_target",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.Double(), nullable=False)
            for name in ("scale", "relative_difference_pair", "relative_difference_sham")
        ),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_sham_target")),
    )
    op.create_table(
        "sham_result",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n_tested", sa.Integer(), nullable=False),
        sa.Column("n_confirmed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_sham_result")),
    )
    op.create_table(
        "probe_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("dictionary_id", sa.String(), nullable=False),
        sa.Column("prompt_ids", STRINGS, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probe_request")),
    )
    op.create_table(
        "intervention",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "reader", "prompt_id", "arm", name=op.f("pk_intervention")),
    )
