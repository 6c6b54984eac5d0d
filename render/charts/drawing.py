"""What all charts share: their widths, their data, and how change classes look."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from typing import Any

import altair as alt

from fi_store.vocabulary import CHANGE_CLASSES
from render.charts import theme

WIDE = 960
NARROW = 340
Row = dict[str, Any]


def data(rows: Iterable[Row]) -> alt.InlineData:
    """Rows as inline data, since a page loads nothing."""
    return alt.InlineData(values=list(rows))


def change_color(present: Collection[str], width: int) -> alt.Color:
    """The color channel of change classes; the domain is always complete, so that a class keeps its color."""
    scale = alt.Scale(domain=list(theme.CHANGE_ORDER), range=[f"${name}" for name in theme.CHANGE_ORDER])
    return alt.Color("change:N", scale=scale, legend=_change_legend(present, width))


def change_shape(present: Collection[str], width: int) -> alt.Shape:
    """The shape channel of change classes; its legend merges with the one of the colors."""
    scale = alt.Scale(domain=list(theme.CHANGE_ORDER), range=list(theme.CHANGE_SHAPES))
    return alt.Shape("change:N", scale=scale, legend=_change_legend(present, width))


def _change_legend(present: Collection[str], width: int) -> alt.Legend:
    """The classes that the chart shows, in their order and in words."""
    classes = [name for name in theme.CHANGE_ORDER if name in present]
    wording = f"{json.dumps(CHANGE_CLASSES)}[datum.value]"
    return alt.Legend(title=None, values=classes, columns=_legend_columns(width), labelExpr=wording)


def _legend_columns(width: int) -> int:
    """How many classes fit side by side."""
    return 4 if width > 800 else 3 if width > 600 else 1


def legend_height(present: Collection[str], width: int) -> int:
    """Pixels that the legend of change classes takes, about."""
    return 18 * math.ceil(len(present) / _legend_columns(width))


def fitted(chart: Any, width: int, height: int) -> Any:
    """A single view whose outer size, axes included, is `width` by `height`."""
    return chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
