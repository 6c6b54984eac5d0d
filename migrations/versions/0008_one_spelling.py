"""One spelling of the words that rows hold: analyzed, behavioral.

Revision 0008, after 0007.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _respell(verdict: tuple[str, str], kept: tuple[str, str]) -> None:
    """Replaces each first word by the second: gate 0's verdict, and `keep_activations` in a run's configuration."""
    op.execute(f"UPDATE pair_gate SET verdict = '{verdict[1]}' WHERE verdict = '{verdict[0]}'")
    op.execute(
        f"""UPDATE run SET config = json_merge_patch(config, '{{"keep_activations": "{kept[1]}"}}')"""
        f" WHERE config->>'keep_activations' = '{kept[0]}'"
    )


def upgrade() -> None:
    _respell(("no_behavioural_difference", "no_behavioral_difference"), ("analysed", "analyzed"))


def downgrade() -> None:
    _respell(("no_behavioral_difference", "no_behavioural_difference"), ("analyzed", "analysed"))
