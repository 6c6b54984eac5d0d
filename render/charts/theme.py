"""Colors and the look of every chart, in a light and a dark form; knows nothing of what a chart shows.

A chart names colors by role (`$ink`), so that one specification serves both forms.
The colors of the change classes are Okabe and Ito's set for color-blind readers ("Color Universal Design", 2008),
lightened for a dark page. Where classes are drawn as points, they also differ in shape.
"""

from __future__ import annotations

from typing import Any

from fi_store.vocabulary import CHANGE_CLASSES

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"

CHANGE_ORDER = tuple(CHANGE_CLASSES)
"""The order in a stack: from what is new in the target to what is gone from it, then what did not change."""
CHANGE_COLORS = ("#009E73", "#0072B2", "#AA4499", "#E69F00", "#D55E00", "#9AA3AE", "#C9CFD6")
CHANGE_COLORS_DARK = ("#2BC79B", "#56B4E9", "#D98CC8", "#F0B73A", "#F2854A", "#77818D", "#4A535E")
CHANGE_SHAPES = ("triangle-up", "circle", "diamond", "square", "triangle-down", "circle", "circle")

SERIES_COLORS = ("#0072B2", "#D55E00", "#009E73", "#5A6472", "#A6528B")
SERIES_COLORS_DARK = ("#56B4E9", "#F2854A", "#2BC79B", "#A3ADB8", "#D98EBB")
CLASS_COLORS = {"response": "$series0", "thinking": "$series4", "start": "$series1", "prompt": "$series2"}
"""Position class -> its color in charts, in the order of legends."""

LIGHT = {
    "ink": "#1B2430",
    "quiet": "#5A6472",
    "line": "#D9DEE4",
    "paper": "#FFFFFF",
    "stripe": "#F3F5F8",
    "bar": "#0072B2",
    "low": "#B35806",
    "middle": "#F4F5F7",
    "high": "#0072B2",
}
DARK = {
    "ink": "#E8ECF1",
    "quiet": "#A3ADB8",
    "line": "#36404C",
    "paper": "#171D25",
    "stripe": "#1E2630",
    "bar": "#56B4E9",
    "low": "#F0B73A",
    "middle": "#232B35",
    "high": "#56B4E9",
}


def palette(dark: bool = False) -> dict[str, str]:
    """Role -> color. A chart writes `$ink`, `$added` or `$series0`; the color is filled in when it is drawn."""
    changes = CHANGE_COLORS_DARK if dark else CHANGE_COLORS
    series = SERIES_COLORS_DARK if dark else SERIES_COLORS
    return {
        **(DARK if dark else LIGHT),
        **dict(zip(CHANGE_ORDER, changes, strict=True)),
        **{f"series{number}": color for number, color in enumerate(series)},
    }


def colored(specification: Any, dark: bool = False) -> Any:
    """The chart with every `$role` replaced. Data rows are left alone: model-written text may begin with a dollar."""
    return _replaced(specification, {f"${role}": color for role, color in palette(dark).items()})


def _replaced(part: Any, colors: dict[str, str]) -> Any:
    if isinstance(part, str):
        return colors.get(part, part)
    if isinstance(part, list):
        return [_replaced(item, colors) for item in part]
    if isinstance(part, dict):
        kept = ("data", "datasets")
        return {key: item if key in kept else _replaced(item, colors) for key, item in part.items()}
    return part


def vega_config() -> dict[str, Any]:
    """The Vega-Lite configuration of every chart: text, axes, legends, titles."""
    text_style = {"labelColor": "$quiet", "titleColor": "$ink", "labelFontSize": 12, "titleFontSize": 12.5}
    return {
        "background": "$paper",
        "font": FONT,
        "padding": 6,
        "view": {"stroke": None},
        "axis": {
            **text_style,
            "titleFontWeight": 600,
            "titlePadding": 10,
            "domainColor": "$line",
            "tickColor": "$line",
            "gridColor": "$line",
            "gridOpacity": 0.7,
            "labelLimit": 260,
        },
        "legend": {
            **text_style,
            "labelColor": "$ink",
            "symbolStrokeWidth": 1.5,
            "symbolSize": 90,
            "symbolOpacity": 1,
            "orient": "top",
            "offset": 12,
            "labelLimit": 260,
        },
        "title": {"color": "$ink", "fontSize": 13.5, "fontWeight": 600, "anchor": "start", "offset": 10},
        "text": {"color": "$ink", "fontSize": 12},
        "rule": {"color": "$quiet"},
    }
