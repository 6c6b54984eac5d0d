"""Charts of features: how many of each change class there are, and base versus target."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.safe_text import one_line
from fi_store.vocabulary import CHANGE_CLASSES
from render.charts import theme
from render.charts.drawing import WIDE, Row, change_color, change_shape, data, fitted, legend_height


def distribution_rows(table: pa.Table) -> list[Row]:
    """Counts with the class's index in the stack: changed features at the bottom, unchanged ones on top."""
    return [
        {
            "layer": str(row["layer"]) if row["site"] == "resid_post" else f"{row['layer']} {row['site']}",
            "number": row["layer"],
            "change": row["change"],
            "class": CHANGE_CLASSES[row["change"]],
            "n": row["n_features"],
            "share": row["share_of_layer"],
            "stack": theme.CHANGE_ORDER.index(row["change"]),
        }
        for row in table.to_pylist()
    ]


def feature_distribution(table: pa.Table, width: int = WIDE) -> Any | None:
    """Stacked bars: the features of each layer that fire, by change class; None without features."""
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
            x=alt.X(
                "n:Q", title="Features that fire", stack="zero", axis=alt.Axis(tickMinStep=1, tickCount=6)
            ),
            color=change_color(present, width),
            order=alt.Order("stack:Q"),
            tooltip=[
                alt.Tooltip("layer:N", title="layer"),
                alt.Tooltip("class:N", title="class"),
                alt.Tooltip("n:Q", title="features"),
                alt.Tooltip("share:Q", title="share of the layer", format=".1%"),
            ],
        )
    )
    n_layers = len({row["layer"] for row in rows})
    return fitted(chart, width, 92 + 34 * n_layers + legend_height(present, width))


def alignment_rows(table: pa.Table) -> list[Row]:
    """One point per feature. A log scale needs a floor: features under a thousandth of the largest sit on the edge."""
    rows = table.to_pylist()
    largest = max((max(row["mean_base"], row["mean_target"]) for row in rows), default=0.0)
    floor = largest / 1000
    return [
        {
            "base": max(row["mean_base"], floor),
            "target": max(row["mean_target"], floor),
            "change": row["change"],
            "class": CHANGE_CLASSES[row["change"]],
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
    """Scatter of the mean activity in both models of each feature that fires; the diagonal is 'no change'."""
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
    present = {row["change"] for row in rows}
    base = alt.Chart(data(rows)).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("name:N", title="result"),
            alt.Tooltip("layer:Q", title="layer"),
            alt.Tooltip("latent:Q", title="feature"),
            alt.Tooltip("class:N", title="class"),
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
    color, shape = change_color(present, width), change_shape(present, width)
    points = [chart.encode(color=color, shape=shape) for chart in (rest, named)]
    height = (540 if width > 600 else 270) + legend_height(present, width)
    return fitted(alt.layer(diagonal, *points, labels), min(width, 620), height)
