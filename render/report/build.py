"""Renders a run: its charts, its features as JSON, and its Markdown and HTML reports. A pure function of the store.

Files go under the store's folder (`visualizations/<run>/`, `features/<run>/`, `reports/<run>/`) and are listed in
the table `report`; rendering again replaces them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import sqlalchemy as sa

from fi_store.config import ReportFormat
from fi_store.errors import RenderError, UsageError
from fi_store.progress import Progress
from fi_store.store import Store, features_path, now, reports_path, visualizations_path
from fi_store.store.tables import PairGate, Report, Run
from render.charts import Figure, draw_figures, write_figures
from render.report.data import read_report
from render.report.export import write_features
from render.report.html import render_html
from render.report.markdown import render_markdown


def render_report(
    store: Store,
    run_ref: str,
    *,
    report_format: str = "both",
    charts: bool = True,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes the report of a run (an id, a unique prefix of one, or `latest`); returns the files, reports first.

    Raises:
        UsageError: an unknown report format.
        NotFoundError: no such run.
        RenderError: the run has not been analyzed yet, or a file cannot be written.
    """
    if report_format not in get_args(ReportFormat):
        raise UsageError(f"There is no report format {report_format!r}.", hint="markdown, html or both")
    progress = progress or Progress()
    run = store.run(run_ref)
    data = read_report(store, run)
    figures = draw_figures(store, run.id, progress) if charts else []
    written = _write_visuals(store, run, figures, progress)
    folder = store.folder / reports_path(run.id)
    reports: list[tuple[Path, str]] = []
    with progress.task("write the report"):
        if report_format in ("html", "both"):
            reports.append((_write(folder / "report.html", render_html(data, figures)), "html"))
        if report_format in ("markdown", "both"):
            pictures = f"../../{visualizations_path(run.id)}"
            reports.append(
                (_write(folder / "report.md", render_markdown(data, figures, pictures)), "markdown")
            )
    _record(store, run.id, [*reports, *written])
    return [path for path, _ in [*reports, *written]]


def render_visualizations(store: Store, run_ref: str, *, progress: Progress | None = None) -> list[Path]:
    """Writes the charts (SVG, PNG, Vega-Lite) and the features as JSON, without a report; returns the files."""
    run = store.run(run_ref)
    with store.session() as session:
        if session.get(PairGate, run.id) is None:
            raise RenderError(
                f"The run {run.id} has no results to draw yet.", hint=store.command("analyze", run.id)
            )
    progress = progress or Progress()
    written = _write_visuals(store, run, draw_figures(store, run.id, progress), progress)
    _record(store, run.id, written)
    return [path for path, _ in written]


def _write_visuals(
    store: Store, run: Run, figures: Sequence[Figure], progress: Progress
) -> list[tuple[Path, str]]:
    """Writes the charts and the features; returns each file with its kind in the table `report`."""
    try:
        with progress.task("write charts"):
            charts = write_figures(figures, store.folder / visualizations_path(run.id)) if figures else []
        features = write_features(store, run, store.folder / features_path(run.id))
    except OSError as error:
        raise _not_written(store.folder, error) from error
    return [*((path, "chart") for path in charts), (features, "features")]


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise _not_written(path, error) from error
    return path


def _not_written(path: Path, error: OSError) -> RenderError:
    return RenderError(
        f"{error.filename or path} cannot be written: {error.strerror}.",
        hint="free some space or use another folder",
    )


def _record(store: Store, run_id: str, files: Sequence[tuple[Path, str]]) -> None:
    """Replaces the rows of the files just written; the run's other files keep theirs."""
    paths = {path.relative_to(store.folder).as_posix(): (path, kind) for path, kind in files}
    with store.session() as session:
        session.execute(sa.delete(Report).where(Report.run_id == run_id, Report.path.in_(paths)))
        for relative, (path, kind) in paths.items():
            size = path.stat().st_size
            session.add(Report(run_id=run_id, path=relative, kind=kind, n_bytes=size, created_at=now()))
