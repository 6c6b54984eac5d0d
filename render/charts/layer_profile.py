"""The chart of where the difference forms: the share of the gap that passes through each layer, by position class."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.vocabulary import POSITION_CLASSES
from render.charts.drawing import WIDE, Row, data, fitted
from render.charts.theme import CLASS_COLORS

TOGETHER = "all together"
SERIES = (*(POSITION_CLASSES[name] for name in CLASS_COLORS), TOGETHER)


def profile_rows(table: pa.Table) -> list[Row]:
    """One point per layer and position class, and one for all classes together; empty without a gap.

    Of several sites, only the first is drawn: where whole layers were read, that is `resid_post`.
    """
    rows = [row for row in table.to_pylist() if row["share"] is not None]
    sites = {row["site"] for row in rows}
    site = "resid_post" if "resid_post" in sites else min(sites, default="")
    points: list[Row] = []
    sums: dict[int, float] = defaultdict(float)
    for row in rows:
        if row["site"] == site:
            name = POSITION_CLASSES[row["position_class"]]
            points.append({"layer": row["layer"], "series": name, "share": row["share"]})
            sums[row["layer"]] += row["share"]
    return [*points, *({"layer": layer, "series": TOGETHER, "share": total} for layer, total in sums.items())]


def layer_profile(table: pa.Table, width: int = WIDE) -> Any | None:
    """Lines over the layers, one for each position class and a dashed one for all together; None without rows."""
    rows = profile_rows(table)
    if not rows:
        return None
    present = [name for name in SERIES if any(row["series"] == name for row in rows)]
    colors = [*CLASS_COLORS.values(), "$ink"]
    dashes = [*([1, 0] for _ in SERIES[:-1]), [5, 4]]
    legend = alt.Legend(title=None, values=present, columns=4 if width > 600 else 1)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("layer:Q", title="Layer", axis=alt.Axis(tickMinStep=1, grid=False, format="d")),
        y=alt.Y("share:Q", title="Share of the gap", axis=alt.Axis(format=".0%", tickCount=6)),
        color=alt.Color(
            "series:N", sort=list(SERIES), scale=alt.Scale(domain=list(SERIES), range=colors), legend=legend
        ),
        tooltip=[
            alt.Tooltip("series:N", title="where"),
            alt.Tooltip("layer:Q", title="layer"),
            alt.Tooltip("share:Q", title="share of the gap", format=".1%"),
        ],
    )
    lines = base.mark_line(strokeWidth=2, aria=False).encode(
        strokeDash=alt.StrokeDash(
            "series:N", sort=list(SERIES), scale=alt.Scale(domain=list(SERIES), range=dashes), legend=legend
        )
    )
    points = base.mark_circle(size=34, opacity=1)
    return fitted(alt.layer(lines, points), width, 300 if width > 600 else 330)
