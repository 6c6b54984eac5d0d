"""The rows of the causal test: what every arm closes, and what the tested changes carry of each behavior."""

from __future__ import annotations

from typing import Any

from analyze.causal import SideTest, Tests


def arm_effect_rows(run_id: str, tests: Tests) -> list[dict[str, Any]]:
    """One row per arm and side that was read on C."""
    by_arm: dict[tuple[str, str], SideTest] = {
        (tested.planned.tested.id, side): test
        for tested in tests.changes
        for side, test in tested.sides.items()
    }
    rows = []
    for (arm, side), closed in tests.closed.items():
        test = by_arm.get((arm, side))
        rows.append(
            {
                "run_id": run_id,
                "arm_id": arm,
                "side": side,
                "closed": closed.mean,
                "share": closed.share,
                "share_low": closed.low,
                "share_high": closed.high,
                "attributed": closed.attributed,
                "p_value": test.p_value if test is not None else None,
                "p_adjusted": test.p_adjusted if test is not None else None,
                "n_units": len(closed.nats),
            }
        )
    return rows


def behavior_share_rows(run_id: str, tests: Tests) -> list[dict[str, Any]]:
    """One row per tested change, side and behavior that enough prompts tell apart."""
    return [
        {
            "run_id": run_id,
            "group_id": tested.planned.change.leader.id,
            "behavior": part.behavior + 1,
            "side": part.side,
            "share": part.share,
            "share_low": part.low,
            "share_high": part.high,
            "n_units": part.n_units,
        }
        for tested in tests.changes
        for test in tested.sides.values()
        for part in test.behaviors
    ]
