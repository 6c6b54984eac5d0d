"""The chart of how alike the layers are: small multiples over depth, with an outside file's numbers beside ours."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.safe_text import one_line
from fi_store.vocabulary import METRICS, POSITION_CLASSES
from render import words
from render.charts.drawing import WIDE, Row, data
from render.charts.theme import CLASS_COLORS

OUTSIDE = "outside file"
SERIES_ORDER = (*(POSITION_CLASSES[name] for name in CLASS_COLORS), OUTSIDE)
PANELS = (
    ("cka", "similarity"),
    ("cosine", None),
    ("relative_difference", "difference"),
)
"""Our metrics, each with the outside file's metric drawn in the same panel."""


def similarity_rows(table: pa.Table) -> list[Row]:
    """One point per panel, series and layer, which is numbered as in the deeper model, at the residual stream if it was
    read and at the first site otherwise.

    Of an outside file, only parameters of a single layer are drawn.
    """
    rows = table.to_pylist()
    panels = {name: panel for panel, pair in enumerate(PANELS) for name in pair if name}
    own_sites = {row["site"] for row in rows if row["source"] == "fi-store"}
    site = "resid_post" if "resid_post" in own_sites else min(own_sites, default=None)
    points = []
    for row in rows:
        if row["metric"] not in panels or row["layer_base"] is None:
            continue
        outside = row["source"] != "fi-store"
        if row["layer_base"] != row["layer_target"] if outside else row["site"] != site:
            continue
        points.append(
            {
                "panel": panels[row["metric"]],
                "series": OUTSIDE if outside else words.position_class(row["position_class"]),
                "layer": max(row["layer_base"], row["layer_target"]),
                "value": row["value"],
                "low": row["ci_low"],
                "high": row["ci_high"],
                "label": one_line(row["label"], 60),
            }
        )
    return sorted(points, key=lambda point: (point["panel"], point["series"], point["layer"]))


def layer_similarity(table: pa.Table, width: int = WIDE) -> Any | None:
    """Small multiples over layers: CKA, cosine and size of the difference, with 95% bands; None without rows."""
    rows = similarity_rows(table)
    present = [panel for panel in range(len(PANELS)) if any(row["panel"] == panel for row in rows)]
    if not present:
        return None
    across = len(present) if width > 600 else 1
    panel_width = (width - 52 * across) // across
    series = [name for name in SERIES_ORDER if any(row["series"] == name for row in rows)]
    legend = alt.Legend(title=None, values=series, columns=4 if across > 1 else 2)
    charts = [
        _similarity_panel([row for row in rows if row["panel"] == panel], panel, panel_width, legend)
        for panel in present
    ]
    drawn = alt.hconcat(*charts, spacing=20) if across > 1 else alt.vconcat(*charts, spacing=22)
    return drawn.resolve_scale(color="shared", x="shared")


def _similarity_panel(rows: list[Row], panel: int, width: int, legend: alt.Legend) -> Any:
    title = METRICS[PANELS[panel][0]]
    zero = panel == 2
    base = alt.Chart(data(rows)).encode(
        x=alt.X("layer:Q", title="Layer", axis=alt.Axis(tickMinStep=1, grid=False, format="d")),
        color=alt.Color(
            "series:O",
            sort=list(SERIES_ORDER),
            scale=alt.Scale(domain=list(SERIES_ORDER), range=[*CLASS_COLORS.values(), "$series3"]),
            legend=legend,
        ),
    )
    scale = alt.Scale(zero=zero, nice=True)
    axis = alt.Axis(title=None, tickCount=5)
    ours = alt.FieldOneOfPredicate(field="series", oneOf=list(SERIES_ORDER[:-1]))
    tooltip = [
        alt.Tooltip("layer:Q", title="layer"),
        alt.Tooltip("series:N", title="read"),
        alt.Tooltip("value:Q", title="value", format=".3f"),
        alt.Tooltip("low:Q", title="95% from", format=".3f"),
        alt.Tooltip("high:Q", title="95% to", format=".3f"),
    ]
    band = (
        base.transform_filter(ours)
        .mark_area(opacity=0.18, line=False)
        .encode(y=alt.Y("low:Q", scale=scale, axis=axis), y2="high:Q")
    )
    line = (
        base.transform_filter(ours)
        .mark_line(strokeWidth=2)
        .encode(y=alt.Y("value:Q", scale=scale, axis=axis))
    )
    dots = (
        base.transform_filter(ours)
        .mark_circle(size=26, opacity=1, aria=False)
        .encode(y="value:Q", tooltip=tooltip)
    )
    parts = [band, line, dots]
    if any(row["series"] == OUTSIDE for row in rows):
        parts.append(
            base.transform_filter(alt.FieldEqualPredicate(field="series", equal=OUTSIDE))
            .mark_point(shape="diamond", size=60, filled=False, strokeWidth=1.6, opacity=1)
            .encode(y="value:Q", tooltip=[alt.Tooltip("label:N", title="parameter"), *tooltip[:3]])
        )
    return alt.layer(*parts).properties(title=title, width=width, height=210)
