"""The callout chart: features as points (activity ratio across, layer up), results in boxes tied to their points.

The boxes are laid out here, in pixels, so that none lies on another; Vega only draws them. On a narrow page the
boxes become numbers beside the points, and the report's own list says what the numbers mean.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.safe_text import one_line
from render import charts, words

Row = dict[str, Any]

BOX_WIDTH = 206
BOX_GAP = 10
LINE_HEIGHT = 15
BOX_PADDING = 8
CHARACTERS = 29
"""Characters of a box's line at 12 px that surely fit into its width."""
LIMIT = 4.0
"""Log2 ratios beyond this stand on the edge: 16 times as active."""
MAX_BOXES = 12
TOP = 16


@dataclass(frozen=True)
class Box:
    """A laid-out box: pixels from the top left corner of the plot."""

    rank: int
    change: str
    text: str
    left: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height


def spread(
    wanted: Sequence[float], heights: Sequence[float], low: float, high: float, gap: float
) -> list[float]:
    """Top edges for boxes whose centres want to be at `wanted`, in that order, without overlap, inside [low, high].

    Neighbours that collide merge into a block placed at the mean of what its members want (pool adjacent
    violators). If all of them do not fit, they run on beyond `high`.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[list[int], float]] = []  # members, top
    for i in order:
        blocks.append(([i], min(max(wanted[i] - heights[i] / 2, low), max(low, high - heights[i]))))
        while len(blocks) > 1 and blocks[-2][1] + _height(blocks[-2][0], heights, gap) + gap > blocks[-1][1]:
            members = blocks[-2][0] + blocks[-1][0]
            blocks[-2:] = [(members, _block_top(members, wanted, heights, low, high, gap))]
    tops = [0.0] * len(wanted)
    for members, top in blocks:
        for i in members:
            tops[i] = top
            top += heights[i] + gap
    return tops


def _height(members: Sequence[int], heights: Sequence[float], gap: float) -> float:
    return sum(heights[i] for i in members) + gap * (len(members) - 1)


def _block_top(
    members: Sequence[int],
    wanted: Sequence[float],
    heights: Sequence[float],
    low: float,
    high: float,
    gap: float,
) -> float:
    offset, total = 0.0, 0.0
    for i in members:
        total += wanted[i] - heights[i] / 2 - offset
        offset += heights[i] + gap
    return max(low, min(total / len(members), high - _height(members, heights, gap)))


def point_rows(table: pa.Table) -> list[Row]:
    """Features with a ratio, at their place: x the clipped log2 ratio, y the layer's band with a fixed jitter.

    A row also holds the result's rank and name where the feature belongs to one.
    """
    rows = [row for row in table.to_pylist() if row["log2_ratio"] is not None]
    bands = {layer: number for number, layer in enumerate(sorted({row["layer"] for row in rows}))}
    return [
        {
            "x": max(-LIMIT, min(LIMIT, row["log2_ratio"])),
            "ratio": row["log2_ratio"],
            "y": bands[row["layer"]] + (zlib.crc32(row["feature_id"].encode()) % 1000 / 1000 - 0.5) * 0.62,
            "layer": row["layer"],
            "latent": row["latent"],
            "place": words.place(row["position_class"] or ""),
            "change": row["change"],
            "theta": row["theta"],
            "rank": row["rank"],
            "name": one_line(row["name"], 90) if row["name"] else None,
            "result_change": row["result_change"],
            "boxed": row["boxed"],
        }
        for row in rows
    ]


@dataclass(frozen=True)
class _Frame:
    """The plot's pixels: where ratios and bands lie. Boxes stand outside [left, right]."""

    width: float
    height: float
    left: float
    right: float
    limit: float
    bands: int

    def x(self, value: float) -> float:
        return self.left + (value + self.limit) / (2 * self.limit) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.height - (value + 0.6) / (self.bands + 0.2) * self.height

    def ratio(self, pixel: float) -> float:
        return (pixel - self.left) / (self.right - self.left) * 2 * self.limit - self.limit

    def band(self, pixel: float) -> float:
        return (self.height - pixel) / self.height * (self.bands + 0.2) - 0.6


def lay_out(points: Sequence[Row], width: int) -> tuple[_Frame, list[Box]]:
    """The frame and the boxes of the results among the points: weaker ones to the left, stronger to the right."""
    boxed = sorted((point for point in points if point["boxed"]), key=lambda point: point["rank"])[:MAX_BOXES]
    sides = {True: [p for p in boxed if p["x"] < 0], False: [p for p in boxed if p["x"] >= 0]}
    bands = len({point["layer"] for point in points})
    texts = {point["rank"]: _box_text(point) for point in boxed}
    heights = {
        rank: text.count("\n") * LINE_HEIGHT + LINE_HEIGHT + 2 * BOX_PADDING for rank, text in texts.items()
    }
    needed = [sum(heights[p["rank"]] + BOX_GAP for p in side) for side in sides.values()]
    height = max(380.0, 64.0 * bands, *(side + 2 * TOP for side in needed))
    margin = BOX_WIDTH + 26
    frame = _Frame(
        width=width,
        height=height,
        left=margin if sides[True] else 0.0,
        right=width - margin if sides[False] else float(width),
        limit=min(LIMIT, max([1.0, *(abs(point["x"]) for point in points)])) * 1.06,
        bands=bands,
    )
    boxes: list[Box] = []
    for leftward, members in sides.items():
        size = [heights[p["rank"]] for p in members]
        tops = spread([frame.y(p["y"]) for p in members], size, TOP / 2, height - TOP / 2, BOX_GAP)
        left = 0.0 if leftward else width - BOX_WIDTH
        for point, top, tall in zip(members, tops, size, strict=True):
            change = point["result_change"]
            boxes.append(Box(point["rank"], change, texts[point["rank"]], left, top, BOX_WIDTH, tall))
    return frame, boxes


def _box_text(point: Row) -> str:
    head = f"{point['rank']}  {point['result_change']}"
    return "\n".join([head, *words.wrapped(point["name"] or "unnamed", CHARACTERS, 3)])


def callout_chart(table: pa.Table, width: int = charts.WIDE) -> Any | None:
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
        frame, boxes = _Frame(plot, max(300.0, 56.0 * bands), 0.0, float(plot), limit, bands), []
    present = sorted({point["change"] for point in points})
    columns = 7 if wide else 3
    colour, shape = charts.change_colour(present, columns), charts.change_shape(present, columns)
    layers = [_rows_of_layers(frame), *_points(points, frame, colour, shape)]
    layers += _boxes(points, frame, boxes, colour) if wide else [_numbers(points)]
    chart = alt.layer(*layers).properties(width=plot, height=frame.height)
    return chart.resolve_scale(color="shared", shape="shared")


def _x(frame: _Frame) -> alt.X:
    ticks = [tick for tick in (-4, -3, -2, -1, 0, 1, 2, 3, 4) if abs(tick) <= frame.limit]
    if frame.right - frame.left < 320:
        ticks = [tick for tick in ticks if tick % 2 == 0] if frame.limit > 2 else ticks
    axis = alt.Axis(
        title="Weaker in the target   ←   activity, target against base   →   Stronger in the target"
        if frame.right - frame.left > 420
        else "← weaker   ·   target against base   ·   stronger →",
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


def _y(frame: _Frame, labels: Sequence[int]) -> alt.Y:
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


def _rows_of_layers(frame: _Frame) -> Any:
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
        alt.Chart(charts.data(rows))
        .transform_filter("datum.odd == 1")
        .mark_rect(color="$stripe")
        .encode(x=_x(frame), x2="x2:Q", y="y:Q", y2="y2:Q")
    )


def _points(points: Sequence[Row], frame: _Frame, colour: alt.Color, shape: alt.Shape) -> list[Any]:
    labels = sorted({point["layer"] for point in points})
    base = alt.Chart(charts.data(points)).encode(
        x=_x(frame),
        y=_y(frame, labels),
        color=colour,
        shape=shape,
        tooltip=[
            alt.Tooltip("name:N", title="result"),
            alt.Tooltip("change:N", title="class"),
            alt.Tooltip("layer:Q", title="layer"),
            alt.Tooltip("latent:Q", title="feature"),
            alt.Tooltip("place:N", title="where"),
            alt.Tooltip("theta:Q", title="effect", format="+.3f"),
        ],
    )
    rest = base.transform_filter("datum.rank == null").mark_point(
        filled=True, size=22, opacity=0.5, aria=False
    )
    members = base.transform_filter("datum.rank != null").mark_point(filled=True, size=100, opacity=1)
    return [rest, members]


def _boxes(points: Sequence[Row], frame: _Frame, boxes: Sequence[Box], colour: alt.Color) -> list[Any]:
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
    base = alt.Chart(charts.data(rows))
    panels = base.mark_rect(filled=False, fill="$paper", cornerRadius=5, strokeWidth=1.4).encode(
        x="x:Q", x2="x2:Q", y="y:Q", y2="y2:Q", color=colour
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
    return [_ties(points, frame, boxes, colour), panels, heads, bodies]


def _ties(points: Sequence[Row], frame: _Frame, boxes: Sequence[Box], colour: alt.Color) -> Any:
    """Lines from a box to each of its features, the strongest one thicker."""
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
        alt.Chart(charts.data(lines))
        .mark_rule(opacity=0.8)
        .encode(
            x="x:Q",
            y="y:Q",
            x2="x2:Q",
            y2="y2:Q",
            strokeWidth=alt.StrokeWidth("weight:Q", scale=None),
            color=colour,
        )
    )


def _numbers(points: Sequence[Row]) -> Any:
    rows = [point for point in points if point["boxed"]]
    return (
        alt.Chart(charts.data(rows))
        .mark_text(dy=-14, fontWeight=700, fontSize=12.5)
        .encode(x="x:Q", y="y:Q", text=alt.Text("rank:Q", format="d"))
    )
