"""Charts: pure functions from a saved query's table to a drawing; `draw_figures` draws all charts of a run."""

from __future__ import annotations

from render.charts.figures import Figure, draw_figures, vega_lite_version, write_figures
from render.charts.theme import palette, vega_config

__all__ = [
    "Figure",
    "draw_figures",
    "palette",
    "vega_config",
    "vega_lite_version",
    "write_figures",
]
