"""The two small charts of a finding: how often the answers have its behavior, and what its patch closes by layer."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.vocabulary import ARM_KINDS, ArmKind
from render.charts.drawing import NARROW, Row, data, fitted

RATES = (
    ("rate_base", "base", "$series0"),
    ("rate_target", "target", "$series1"),
    ("rate_clean", "no patch", "$quiet"),
    ("rate_patched", "its patch on", "$ink"),
    ("rate_control", "control on", "$quiet"),
)
"""The columns of a finding that hold rates, in the order of the chart, with their labels and colors."""
SHARES: tuple[ArmKind, ...] = ("whole", "change", "control")
"""The kinds of arm in the chart of shares: the ceiling, the finding, and its control."""


def rate_rows(table: pa.Table) -> list[Row]:
    """One point for each rate that the finding has."""
    return [
        {"label": label, "rate": row[column], "shown": f"{row[column]:.0%}"}
        for row in table.to_pylist()
        for column, label, _ in RATES
        if row[column] is not None
    ]


def rates_chart(table: pa.Table, width: int = NARROW) -> Any | None:
    """A dot plot of the rates of one finding (a row of `top_findings`); None if it has none."""
    rows = rate_rows(table)
    if not rows:
        return None
    labels = [row["label"] for row in rows]
    color = alt.Color(
        "label:N",
        scale=alt.Scale(domain=[label for _, label, _ in RATES], range=[color for *_, color in RATES]),
        legend=None,
    )
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(grid=True, domain=False, ticks=False)),
        x=alt.X(
            "rate:Q",
            title="Answers that have it",
            scale=alt.Scale(domain=[0, 1.25], nice=False),
            axis=alt.Axis(format=".0%", values=[0, 0.5, 1], grid=False),
        ),
        tooltip=[alt.Tooltip("label:N", title="answers"), alt.Tooltip("rate:Q", title="share", format=".0%")],
    )
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(color=color)
    texts = base.mark_text(align="left", dx=10, aria=False).encode(text="shown:N")
    return fitted(alt.layer(dots, texts), width, 62 + 27 * len(rows))


def share_rows(table: pa.Table) -> list[Row]:
    """One point per kind of arm and layer, with its 95% limits."""
    return [
        {
            "kind": ARM_KINDS[row["kind"]],
            "layer": row["layer"],
            "share": row["share"],
            "low": row["share_low"],
            "high": row["share_high"],
        }
        for row in table.to_pylist()
        if row["kind"] in SHARES
    ]


def share_by_layer(table: pa.Table, width: int = NARROW) -> Any | None:
    """What a finding's patch closes of the gap at each layer, beside the whole difference and the control.

    Takes the rows of `causal_arms` of one finding, patched model, site and set of position classes; None without arms
    of the finding.
    """
    rows = share_rows(table)
    names = [ARM_KINDS[kind] for kind in SHARES]
    if not any(row["kind"] == ARM_KINDS["change"] for row in rows):
        return None
    present = [name for name in names if any(row["kind"] == name for row in rows)]
    colors = ["$quiet", "$series1", "$series3"]
    legend = alt.Legend(title=None, values=present, columns=1)
    base = alt.Chart(data(rows)).encode(
        x=alt.X(
            "layer:Q",
            title="Layer",
            scale=alt.Scale(zero=False, nice=False, padding=12),
            axis=alt.Axis(values=sorted({row["layer"] for row in rows}), format="d", grid=False),
        ),
        color=alt.Color("kind:N", sort=names, scale=alt.Scale(domain=names, range=colors), legend=legend),
        tooltip=[
            alt.Tooltip("kind:N", title="patch"),
            alt.Tooltip("layer:Q", title="layer"),
            alt.Tooltip("share:Q", title="closes", format=".0%"),
            alt.Tooltip("low:Q", title="95% from", format=".0%"),
            alt.Tooltip("high:Q", title="95% to", format=".0%"),
        ],
    )
    shape = alt.Shape(
        "kind:N",
        sort=names,
        scale=alt.Scale(domain=names, range=["square", "circle", "triangle-down"]),
        legend=legend,
    )
    share = alt.Y("share:Q", title="Share of the gap", axis=alt.Axis(format=".0%", tickCount=5))
    lines = base.mark_line(strokeWidth=1.6, point=False, aria=False).encode(y=share)
    limits = base.mark_rule(strokeWidth=1.6, aria=False).encode(
        y=alt.Y("low:Q", title="Share of the gap"), y2="high:Q"
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(y=share, shape=shape)
    return fitted(alt.layer(lines, limits, points), width, 200 + 18 * len(present))
