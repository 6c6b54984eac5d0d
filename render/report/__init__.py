"""Reports on a run as an HTML page, as Markdown and as JSON; a pure function of the store, with no model involved."""

from __future__ import annotations

from render.report.build import render_report, render_visualizations

__all__ = [
    "render_report",
    "render_visualizations",
]
