"""The callout chart: features as points (activity ratio across, layer up), results in boxes tied to their points.

On a narrow page, numbers beside the points replace the boxes; the report's list of results explains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pyarrow as pa

from render.charts import drawing
from render.charts.callout_layout import (
    BOX_PADDING,
    LIMIT,
    LINE_HEIGHT,
    Box,
    Frame,
    Row,
    lay_out,
    number_rows,
    point_rows,
)


def callout_chart(table: pa.Table, width: int = drawing.WIDE) -> Any | None:
    """The chart for a page width; None when no feature has a ratio."""
    points = point_rows(table)
    if not points:
        return None
    wide = width > 600
    plot = width - 78
    if wide:
        frame, boxes = lay_out(points, plot)
    else:
        bands = len({point["layer"] for point in points})
        limit = min(LIMIT, max([1.0, *(abs(point["x"]) for point in points)])) * 1.06
        frame, boxes = Frame(plot, max(300.0, 56.0 * bands), 0.0, float(plot), limit, bands), []
    present = sorted({point["change"] for point in points})
    color, shape = drawing.change_color(present, width), drawing.change_shape(present, width)
    layers = [_rows_of_layers(frame), *_points(points, frame, color, shape)]
    layers += _boxes(points, frame, boxes, color) if wide else [_numbers(points, frame)]
    chart = alt.layer(*layers).properties(width=plot, height=frame.height)
    return chart.resolve_scale(color="shared", shape="shared")


def _x(frame: Frame) -> alt.X:
    ticks = [tick for tick in (-4, -3, -2, -1, 0, 1, 2, 3, 4) if abs(tick) <= frame.limit]
    if frame.right - frame.left < 320:
        ticks = [tick for tick in ticks if tick % 2 == 0] if frame.limit > 2 else ticks
    axis = alt.Axis(
        title="Weaker in the target   ←   activity, target vs. base   →   Stronger in the target"
        if frame.right - frame.left > 420
        else "← weaker   ·   target vs. base   ·   stronger →",
        titleAnchor="middle",
        titleX=(frame.left + frame.right) / 2,
        values=ticks,
        labelExpr="datum.value == 0 ? 'same' : (datum.value < 0 ? '÷' : '×') + pow(2, abs(datum.value))"
        f" + (abs(datum.value) >= {LIMIT} ? '+' : '')",
        domain=False,
        ticks=False,
        labelFlush=False,
    )
    return alt.X(
        "x:Q", scale=alt.Scale(domain=[frame.ratio(0), frame.ratio(frame.width)], nice=False), axis=axis
    )


def _y(frame: Frame, labels: Sequence[int]) -> alt.Y:
    names = ", ".join(f"'layer {layer}'" for layer in labels)
    axis = alt.Axis(
        title=None,
        values=list(range(len(labels))),
        labelExpr=f"[{names}][datum.value]",
        domain=False,
        ticks=False,
        grid=False,
        labelPadding=8,
    )
    return alt.Y(
        "y:Q", scale=alt.Scale(domain=[frame.band(frame.height), frame.band(0)], nice=False), axis=axis
    )


def _rows_of_layers(frame: Frame) -> Any:
    rows = [
        {
            "x": frame.ratio(0),
            "x2": frame.ratio(frame.width),
            "y": band - 0.5,
            "y2": band + 0.5,
            "odd": band % 2,
        }
        for band in range(frame.bands)
    ]
    return (
        alt.Chart(drawing.data(rows))
        .transform_filter("datum.odd == 1")
        .mark_rect(color="$stripe")
        .encode(x=_x(frame), x2="x2:Q", y="y:Q", y2="y2:Q")
    )


def _points(points: Sequence[Row], frame: Frame, color: alt.Color, shape: alt.Shape) -> list[Any]:
    labels = sorted({point["layer"] for point in points})
    base = alt.Chart(drawing.data(points)).encode(
        x=_x(frame),
        y=_y(frame, labels),
        color=color,
        shape=shape,
        tooltip=[
            alt.Tooltip("name:N", title="result"),
            alt.Tooltip("class:N", title="class"),
            alt.Tooltip("layer:Q", title="layer"),
            alt.Tooltip("latent:Q", title="feature"),
            alt.Tooltip("where:N", title="where"),
            alt.Tooltip("theta:Q", title="effect", format="+.3f"),
        ],
    )
    rest = base.transform_filter("datum.rank == null").mark_point(
        filled=True, size=22, opacity=0.5, aria=False
    )
    members = base.transform_filter("datum.rank != null").mark_point(filled=True, size=100, opacity=1)
    return [rest, members]


def _boxes(points: Sequence[Row], frame: Frame, boxes: Sequence[Box], color: alt.Color) -> list[Any]:
    rows = [
        {
            "x": frame.ratio(box.left),
            "x2": frame.ratio(box.left + box.width),
            "y": frame.band(box.top),
            "y2": frame.band(box.bottom),
            "text_x": frame.ratio(box.left + BOX_PADDING + 2),
            "change": box.change,
            "head": box.text.split("\n")[0],
            "body": "\n" + "\n".join(box.text.split("\n")[1:]),
        }
        for box in boxes
    ]
    base = alt.Chart(drawing.data(rows))
    panels = base.mark_rect(filled=False, fill="$paper", cornerRadius=5, strokeWidth=1.4).encode(
        x="x:Q", x2="x2:Q", y="y:Q", y2="y2:Q", color=color
    )
    text: dict[str, Any] = {
        "align": "left",
        "baseline": "top",
        "lineBreak": "\n",
        "lineHeight": LINE_HEIGHT,
        "fontSize": 12,
        "dy": BOX_PADDING,
    }
    position: dict[str, Any] = {"x": alt.X("text_x:Q"), "y": alt.Y("y:Q")}
    heads = base.mark_text(fontWeight=700, **text).encode(text="head:N", **position)
    bodies = base.mark_text(**text).encode(text="body:N", **position)
    return [_ties(points, frame, boxes, color), panels, heads, bodies]


def _ties(points: Sequence[Row], frame: Frame, boxes: Sequence[Box], color: alt.Color) -> Any:
    """Lines from a box to each of its features, the strongest with a thicker line."""
    by_rank = {box.rank: box for box in boxes}
    lines = []
    for point in points:
        box = by_rank.get(point["rank"]) if point["rank"] is not None else None
        if box is not None:
            line = {
                "x": point["x"],
                "y": point["y"],
                "x2": frame.ratio(box.left + box.width if box.left == 0 else box.left),
                "y2": frame.band(box.top + box.height / 2),
                "change": box.change,
                "weight": 1.4 if point["boxed"] else 0.7,
            }
            lines.append(line)
    return (
        alt.Chart(drawing.data(lines))
        .mark_rule(opacity=0.8)
        .encode(
            x="x:Q",
            y="y:Q",
            x2="x2:Q",
            y2="y2:Q",
            strokeWidth=alt.StrokeWidth("weight:Q", scale=None),
            color=color,
        )
    )


def _numbers(points: Sequence[Row], frame: Frame) -> Any:
    return (
        alt.Chart(drawing.data(number_rows(points, frame)))
        .mark_text(dy=-14, fontWeight=700, fontSize=12.5)
        .encode(x="x:Q", y="y:Q", text="ranks:N")
    )
