"""The chart of right answers by difficulty, both models side by side."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.vocabulary import SIDES
from render.charts.drawing import WIDE, Row, data, fitted


def accuracy_rows(table: pa.Table) -> list[Row]:
    """One point per difficulty and model; the row for all prompts is left out."""
    return [
        {
            "difficulty": row["difficulty"],
            "model": side,
            "accuracy": row[f"{side}_accuracy"],
            "low": row[f"{side}_low"],
            "high": row[f"{side}_high"],
            "chance": row["chance"],
            "n": row["n_prompts"],
            "unread": row[f"{side}_unread"],
            "cut_off": row[f"{side}_cut_off"],
        }
        for row in table.to_pylist()
        if row["difficulty"] is not None
        for side in SIDES
    ]


def accuracy_chart(table: pa.Table, width: int = WIDE) -> Any | None:
    """Both models' accuracy at each difficulty, side by side with 95% intervals; None without rows."""
    rows = accuracy_rows(table)
    if not rows:
        return None
    y = alt.Y(
        "accuracy:Q",
        title="Right answers",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format=".0%", tickCount=5),
    )
    model: dict[str, Any] = {
        "scale": alt.Scale(domain=list(SIDES), range=["$series0", "$series1"]),
        "legend": alt.Legend(title=None),
    }
    base = alt.Chart(data(rows)).encode(
        x=alt.X("difficulty:O", title="Difficulty", axis=alt.Axis(labelAngle=0, grid=False)),
        xOffset=alt.XOffset("model:N", sort=list(SIDES)),
        color=alt.Color("model:N", sort=list(SIDES), **model),
        tooltip=[
            alt.Tooltip("model:N", title="model"),
            alt.Tooltip("difficulty:O", title="difficulty"),
            alt.Tooltip("accuracy:Q", title="right", format=".0%"),
            alt.Tooltip("low:Q", title="95% from", format=".0%"),
            alt.Tooltip("high:Q", title="95% to", format=".0%"),
            alt.Tooltip("chance:Q", title="by guessing", format=".0%"),
            alt.Tooltip("n:Q", title="prompts"),
            alt.Tooltip("unread:Q", title="no answer read"),
            alt.Tooltip("cut_off:Q", title="cut off"),
        ],
    )
    shape = alt.Shape(
        "model:N", sort=list(SIDES), scale=alt.Scale(domain=list(SIDES), range=["circle", "square"])
    )
    limits = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title="Right answers"), y2="high:Q")
    points = base.mark_point(filled=True, size=90, opacity=1, aria=False).encode(y=y, shape=shape)
    chance = base.mark_tick(thickness=1.6, size=34, opacity=0.9).encode(
        y="chance:Q", color=alt.value("$quiet")
    )
    return fitted(alt.layer(chance, limits, points), width, 320)
