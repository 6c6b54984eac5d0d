"""What every chart shares: its widths, its data, and how change classes look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from render.charts import theme

WIDE = 960
NARROW = 340
Row = dict[str, Any]


def data(rows: Iterable[Row]) -> alt.InlineData:
    """Rows as a chart's own data: a page loads nothing."""
    return alt.InlineData(values=list(rows))


def change_color(present: Sequence[str], columns: int) -> alt.Color:
    """The color channel of change classes; the domain is always complete, so that a class keeps its color."""
    return alt.Color("change:N", scale=change_scale(), legend=change_legend(present, columns))


def change_legend(present: Sequence[str], columns: int) -> alt.Legend:
    """The classes that the chart shows, in their order."""
    shown = [name for name in theme.CHANGE_ORDER if name in present]
    return alt.Legend(title=None, values=shown, columns=columns)


def change_shape(present: Sequence[str], columns: int) -> alt.Shape:
    """The shape channel of change classes; its legend merges with the colors'."""
    scale = alt.Scale(domain=list(theme.CHANGE_ORDER), range=list(theme.CHANGE_SHAPES))
    return alt.Shape("change:N", scale=scale, legend=change_legend(present, columns))


def change_scale() -> alt.Scale:
    """Change class -> color, by role."""
    return alt.Scale(domain=list(theme.CHANGE_ORDER), range=[f"${name}" for name in theme.CHANGE_ORDER])


def legend_columns(width: int) -> int:
    """How many classes stand side by side."""
    return 7 if width > 800 else 4 if width > 600 else 2


def fitted(chart: Any, width: int, height: int) -> Any:
    """A single view whose outer size, axes included, is `width` by `height`."""
    return chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
