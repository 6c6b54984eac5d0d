"""Charts by prompt category: the effect of each result, and how far the answers differ."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.safe_text import one_line
from render import words
from render.charts.drawing import WIDE, Row, data, fitted


def heatmap_rows(table: pa.Table) -> list[Row]:
    """One cell per result and category; `sure` if the contrast's adjusted p is at most 0.05."""
    return [
        {
            "result": f"{row['rank']}. {one_line(row['name'], 44)}",
            "rank": row["rank"],
            "category": words.category(row["category"]),
            "effect": row["effect"],
            "n": row["n_units"],
            "contrast": row["contrast"],
            "p": row["contrast_p"],
            "sure": row["contrast_p"] is not None and row["contrast_p"] <= 0.05,
        }
        for row in table.to_pylist()
    ]


def category_heatmap(table: pa.Table, width: int = WIDE) -> Any | None:
    """Mean effect of each result in each category; a ring marks a confirmed contrast. None without rows."""
    rows = heatmap_rows(table)
    if not rows:
        return None
    ranks, categories = len({row["rank"] for row in rows}), len({row["category"] for row in rows})
    largest = max(abs(row["effect"]) for row in rows) or 1.0
    wide = width > 600
    result: dict[str, Any] = {"sort": alt.EncodingSortField("rank"), "title": None}
    group: dict[str, Any] = {"sort": "ascending", "title": None}
    if wide:
        x = alt.X("category:N", axis=alt.Axis(labelAngle=-38, orient="top", labelLimit=200), **group)
        y = alt.Y("result:N", axis=alt.Axis(labelLimit=300), **result)
    else:
        x = alt.X(
            "rank:O", axis=alt.Axis(orient="top", labelAngle=0, labelExpr="'#' + datum.value", title=None)
        )
        y = alt.Y("category:N", axis=alt.Axis(labelLimit=180), **group)
    base = alt.Chart(data(rows)).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("result:N", title="result"),
            alt.Tooltip("category:N", title="category"),
            alt.Tooltip("effect:Q", title="mean effect", format="+.3f"),
            alt.Tooltip("n:Q", title="prompts"),
            alt.Tooltip("contrast:Q", title="compared with the rest", format="+.3f"),
            alt.Tooltip("p:Q", title="adjusted p", format=".3f"),
        ],
    )
    color = alt.Color(
        "effect:Q",
        scale=alt.Scale(domain=[-largest, 0, largest], range=["$low", "$middle", "$high"], interpolate="lab"),
        legend=alt.Legend(
            title="Mean effect", gradientLength=180 if wide else 130, format=".2~f", tickCount=3
        ),
    )
    cells = base.mark_rect(cornerRadius=2).encode(color=color)
    rings = base.transform_filter("datum.sure").mark_point(
        shape="circle", size=70, color="$ink", strokeWidth=1.6
    )
    n_lines = ranks if wide else categories
    drawn = fitted(alt.layer(cells, rings), width, (210 if wide else 110) + 30 * n_lines)
    # The slanted names of the last columns stick out of the plot, which `fit` does not account for.
    return drawn.properties(padding={"left": 6, "top": 6, "bottom": 6, "right": 74 if wide else 6})


def divergence_rows(table: pa.Table) -> list[Row]:
    """Mean symmetric KL with its 95% interval over prompts; no interval if a category has one family."""
    return [
        {
            "category": words.category(row["category"]),
            "kl": row["kl_symmetric"],
            "low": row["kl_low"],
            "high": row["kl_high"],
            "n": row["n_prompts"],
            "agreement": row["agreement"],
            "same": row["n_same_answers"],
            "share": row["share"],
        }
        for row in table.to_pylist()
    ]


def category_discrimination(table: pa.Table, width: int = WIDE) -> Any | None:
    """Horizontal bars of the mean symmetric KL per answer token by category, largest first; None without rows."""
    rows = divergence_rows(table)
    if not rows:
        return None
    y = alt.Y("category:N", title=None, sort=[row["category"] for row in rows])
    base = alt.Chart(data(rows)).encode(
        y=y,
        tooltip=[
            alt.Tooltip("category:N", title="category"),
            alt.Tooltip("kl:Q", title="KL, nats per token", format=".3f"),
            alt.Tooltip("agreement:Q", title="same most likely token", format=".0%"),
            alt.Tooltip("same:Q", title="identical answers"),
            alt.Tooltip("n:Q", title="prompts"),
            alt.Tooltip("share:Q", title="share of the whole difference", format=".0%"),
        ],
    )
    title = (
        "Difference between the answers (KL, nats per token)" if width > 600 else "KL, nats per answer token"
    )
    x = alt.X("kl:Q", title=title, axis=alt.Axis(tickCount=5))
    bars = base.mark_bar(height=alt.RelativeBandSize(band=0.66), cornerRadiusEnd=2, color="$bar").encode(x=x)
    spread = (
        base.transform_filter("datum.low != null")
        .mark_rule(strokeWidth=1.6, color="$ink")
        .encode(x="low:Q", x2="high:Q")
    )
    return fitted(alt.layer(bars, spread), width, 70 + 26 * len(rows))
