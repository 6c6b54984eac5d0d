"""Lays out the boxes of the callout chart in pixels, so that none covers another; Vega only draws them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fi_store.safe_text import one_line
from fi_store.vocabulary import CHANGE_CLASSES
from render import words

Row = dict[str, Any]

BOX_WIDTH = 206
BOX_GAP = 10
LINE_HEIGHT = 15
BOX_PADDING = 8
CHARACTERS = 28
"""Characters at 12 px that are sure to fit into a line of a box."""
LIMIT = 4.0
"""Log2 ratios beyond this are drawn on the edge: 16 times as active."""
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
    """Top edges for boxes that should be centered at `wanted`, in that order, without overlap, inside [low, high].

    Neighbors that collide merge into a block centered on the mean of their wanted positions (pool adjacent
    violators). Boxes that do not fit run past `high`.
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
    """Features with a ratio as points: x is the clipped log2 ratio, y the layer's band with a fixed jitter.

    A row also holds the rank and name of the result that the feature belongs to, if any.
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
            "where": words.position_class(row["position_class"] or ""),
            "change": row["change"],
            "class": CHANGE_CLASSES[row["change"]],
            "theta": row["theta"],
            "rank": row["rank"],
            "name": one_line(row["name"], 90) if row["name"] else None,
            "result_change": row["result_change"],
            "boxed": row["boxed"],
        }
        for row in rows
    ]


@dataclass(frozen=True)
class Frame:
    """Maps ratios and bands to the plot's pixels and back. Boxes go outside [left, right]."""

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


def lay_out(points: Sequence[Row], width: int) -> tuple[Frame, list[Box]]:
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
    frame = Frame(
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
    head = f"{point['rank']}  {CHANGE_CLASSES[point['result_change']]}"
    return "\n".join([head, *words.wrapped(point["name"] or "unnamed", CHARACTERS, 3)])


def number_rows(points: Sequence[Row], frame: Frame) -> list[Row]:
    """Positions of the rank labels on a narrow page; ranks whose points overlap share one label."""
    rows: list[Row] = []
    for point in sorted((point for point in points if point["boxed"]), key=lambda point: point["rank"]):
        x, y = frame.x(point["x"]), frame.y(point["y"])
        near = next((row for row in rows if abs(row["left"] - x) < 22 and abs(row["top"] - y) < 14), None)
        if near is None:
            rows.append({"x": point["x"], "y": point["y"], "left": x, "top": y, "ranks": str(point["rank"])})
        else:
            near["ranks"] += f", {point['rank']}"
    return rows
