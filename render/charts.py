"""Altair charts as pure functions of saved queries' tables: first the rows that a chart shows, then the drawing.

Every chart is drawn for a page width (`WIDE` or `NARROW` pixels) and carries no colours of its own beyond the
theme's roles, so that one specification serves light and dark pages. The similarity of layers stands in
`render.similarity`, the callout chart in `render.callouts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.safe_text import one_line
from render import theme, words

WIDE = 960
NARROW = 340
Row = dict[str, Any]


def data(rows: Iterable[Row]) -> alt.InlineData:
    """Rows as a chart's own data: a page loads nothing."""
    return alt.InlineData(values=list(rows))


def change_colour(present: Sequence[str], columns: int) -> alt.Color:
    """The colour channel of change classes; the domain is always complete, so that a class keeps its colour."""
    return alt.Color("change:N", scale=change_scale(), legend=change_legend(present, columns))


def change_legend(present: Sequence[str], columns: int) -> alt.Legend:
    """The classes that the chart shows, in their order."""
    shown = [name for name in theme.CHANGE_ORDER if name in present]
    return alt.Legend(title=None, values=shown, columns=columns)


def change_shape(present: Sequence[str], columns: int) -> alt.Shape:
    """The shape channel of change classes; its legend merges with the colours'."""
    scale = alt.Scale(domain=list(theme.CHANGE_ORDER), range=list(theme.CHANGE_SHAPES))
    return alt.Shape("change:N", scale=scale, legend=change_legend(present, columns))


def change_scale() -> alt.Scale:
    """Change class -> colour, by role."""
    return alt.Scale(domain=list(theme.CHANGE_ORDER), range=[f"${name}" for name in theme.CHANGE_ORDER])


def legend_columns(width: int) -> int:
    """How many classes stand side by side."""
    return 7 if width > 800 else 4 if width > 600 else 2


def fitted(chart: Any, width: int, height: int) -> Any:
    """A single view whose outer size, axes included, is `width` by `height`."""
    return chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )


# Features by change class and layer


def distribution_rows(table: pa.Table) -> list[Row]:
    """Counts with the class's place in the stack: changed features at the bottom, unchanged ones on top."""
    rows = []
    for row in table.to_pylist():
        place = theme.CHANGE_ORDER.index(row["change"])
        rows.append(
            {
                "layer": f"{row['layer']}"
                if row["site"] == "resid_post"
                else f"{row['layer']} {row['site']}",
                "number": row["layer"],
                "change": row["change"],
                "n": row["n_features"],
                "share": row["share_of_layer"],
                "place": place,
            }
        )
    return rows


def feature_distribution(table: pa.Table, width: int = WIDE) -> Any | None:
    """Stacked bars: living features of each layer by change class; None without features."""
    rows = distribution_rows(table)
    if not rows:
        return None
    present = {row["change"] for row in rows}
    order = list(dict.fromkeys(row["layer"] for row in sorted(rows, key=lambda row: -row["number"])))
    chart = (
        alt.Chart(data(rows))
        .mark_bar(height=alt.RelativeBandSize(band=0.72))
        .encode(
            y=alt.Y("layer:N", title="Layer", sort=order),
            x=alt.X("n:Q", title="Living features", stack="zero", axis=alt.Axis(tickMinStep=1, tickCount=6)),
            color=change_colour(sorted(present), legend_columns(width)),
            order=alt.Order("place:Q"),
            tooltip=[
                alt.Tooltip("layer:N", title="layer"),
                alt.Tooltip("change:N", title="class"),
                alt.Tooltip("n:Q", title="features"),
                alt.Tooltip("share:Q", title="of the layer", format=".1%"),
            ],
        )
    )
    n_layers = len({row["layer"] for row in rows})
    return fitted(
        chart,
        width,
        110 + 34 * n_layers + (0 if width > 800 else 18 * (len(present) // legend_columns(width))),
    )


# Results by category


def heatmap_rows(table: pa.Table) -> list[Row]:
    """One cell per result and category; `sure` where the contrast's adjusted p is at most 0.05."""
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
            alt.Tooltip("contrast:Q", title="against the rest", format="+.3f"),
            alt.Tooltip("p:Q", title="adjusted p", format=".3f"),
        ],
    )
    colour = alt.Color(
        "effect:Q",
        scale=alt.Scale(domain=[-largest, 0, largest], range=["$low", "$middle", "$high"], interpolate="lab"),
        legend=alt.Legend(
            title="Mean effect", gradientLength=180 if wide else 130, format=".2~f", tickCount=3
        ),
    )
    cells = base.mark_rect(cornerRadius=2).encode(color=colour)
    rings = base.transform_filter("datum.sure").mark_point(
        shape="circle", size=70, color="$ink", strokeWidth=1.6
    )
    rows_shown = ranks if wide else categories
    drawn = fitted(alt.layer(cells, rings), width, (210 if wide else 110) + 30 * rows_shown)
    # The slanted names of the last columns lean out of the plot; the fit does not count them.
    return drawn.properties(padding={"left": 6, "top": 6, "bottom": 6, "right": 74 if wide else 6})


# Activity in the base against activity in the target


def alignment_rows(table: pa.Table) -> list[Row]:
    """Activities on a log scale need a floor: a thousandth of the largest; quieter features stand on the edge."""
    rows = table.to_pylist()
    largest = max((max(row["mean_base"], row["mean_target"]) for row in rows), default=0.0)
    floor = largest / 1000
    return [
        {
            "base": max(row["mean_base"], floor),
            "target": max(row["mean_target"], floor),
            "change": row["change"],
            "layer": row["layer"],
            "latent": row["latent"],
            "rank": row["rank"],
            "name": one_line(row["name"], 80) if row["name"] else None,
            "norm_base": row["decoder_norm_base"],
            "norm_target": row["decoder_norm_target"],
        }
        for row in rows
        if largest > 0
    ]


def alignment(table: pa.Table, width: int = WIDE) -> Any | None:
    """Scatter of each living feature's mean activity in both models; the diagonal is 'no change'."""
    rows = alignment_rows(table)
    if not rows:
        return None
    low = min(min(row["base"], row["target"]) for row in rows)
    high = max(max(row["base"], row["target"]) for row in rows) * 1.15
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis: dict[str, Any] = {"tickCount": 5, "format": ".2~r", "grid": False}
    x = alt.X("base:Q", scale=scale, axis=alt.Axis(title="Mean activity in the base", **axis))
    y = alt.Y("target:Q", scale=scale, axis=alt.Axis(title="Mean activity in the target", **axis))
    diagonal = (
        alt.Chart(data([{"base": low, "target": low}, {"base": high, "target": high}]))
        .mark_line(strokeDash=[4, 4], strokeWidth=1.2, color="$quiet")
        .encode(x=x, y=y)
    )
    present = sorted({row["change"] for row in rows})
    base = alt.Chart(data(rows)).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("name:N", title="result"),
            alt.Tooltip("layer:Q", title="layer"),
            alt.Tooltip("latent:Q", title="feature"),
            alt.Tooltip("change:N", title="class"),
            alt.Tooltip("base:Q", title="base", format=".3g"),
            alt.Tooltip("target:Q", title="target", format=".3g"),
        ],
    )
    rest = base.transform_filter("datum.rank == null").mark_point(
        filled=True, size=26, opacity=0.55, aria=False
    )
    named = base.transform_filter("datum.rank != null").mark_point(filled=True, size=90, opacity=1)
    labels = (
        base.transform_filter("datum.rank != null")
        .mark_text(dx=9, dy=-8, fontWeight=700, fontSize=11.5)
        .encode(text=alt.Text("rank:Q", format="d"))
    )
    columns = legend_columns(width)
    colour, shape = change_colour(present, columns), change_shape(present, columns)
    points = [chart.encode(color=colour, shape=shape) for chart in (rest, named)]
    side = min(width, 620)
    return fitted(alt.layer(diagonal, *points, labels), side, side if width < 600 else 560)


# How far the answers differ in each category


def divergence_rows(table: pa.Table) -> list[Row]:
    """Mean symmetric KL with its 95% interval over prompts; none where a category has one family."""
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
            alt.Tooltip("share:Q", title="of the whole difference", format=".0%"),
        ],
    )
    title = "Difference of the answers (KL, nats per token)" if width > 600 else "KL, nats per answer token"
    x = alt.X("kl:Q", title=title, axis=alt.Axis(tickCount=5))
    bars = base.mark_bar(height=alt.RelativeBandSize(band=0.66), cornerRadiusEnd=2, color="$bar").encode(x=x)
    spread = (
        base.transform_filter("datum.low != null")
        .mark_rule(strokeWidth=1.6, color="$ink")
        .encode(x="low:Q", x2="high:Q")
    )
    return fitted(alt.layer(bars, spread), width, 70 + 26 * len(rows))
