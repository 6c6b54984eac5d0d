"""Runs the stages in order (extract, analyze, clean up, report) for the command line and the Python API.

Each room is imported when its stage begins, so a stage loads only the libraries it needs. Each room records in the
run's state how far it got, and `resume` continues from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from fi_store.config import EXTRACTION_FIELDS, RunConfig, make_config
from fi_store.errors import FiStoreError, UsageError
from fi_store.progress import Progress
from fi_store.prompts import PromptSuite, assign_units, check_halves, suite_from_store
from fi_store.store import Store, apply_keep
from fi_store.store.tables import Run

if TYPE_CHECKING:
    from extract.probes import Prober
    from fi_store.naming import Propose

ANALYZED = ("analyzed", "complete")
"""States of a run whose latest analysis is finished."""


@dataclass(frozen=True)
class Outcome:
    """A finished run and its report files (empty without a report)."""

    run_id: str
    files: tuple[Path, ...] = ()


class InterruptedRunError(FiStoreError):
    """The work was interrupted by a user or the machine; everything committed is kept."""

    exit_code = 130


def check_inputs(config: RunConfig, suite: PromptSuite) -> None:
    """Refuses wrong inputs before a store is made or a model is loaded.

    Raises:
        ModelError: a model reference is not valid.
        UsageError: the crosscoder file is not valid, or there are too few prompts for two halves.
    """
    from analyze.pair import read_crosscoder_file
    from extract.models import parse_reference

    check_halves(assign_units(suite, config.seed))
    for reference in (config.base_model, config.target_model):
        parse_reference(reference)
    if config.naming_model is not None and config.naming_url is None:
        parse_reference(config.naming_model)
    if config.crosscoder_file is not None:
        read_crosscoder_file(config.crosscoder_file)


def execute(store: Store, config: RunConfig, suite: PromptSuite, progress: Progress) -> Outcome:
    """Makes a complete new run: extraction (new or reused), analysis, report."""
    run_id = extract(store, config, suite, progress)
    return _finish(store, run_id, config, progress)


def resume(
    store: Store, run: Run, config: RunConfig, progress: Progress, *, until: str = "report"
) -> Outcome:
    """Continues a run where it stopped, without repeating finished stages."""
    if not reached(store, run.id, "extracted"):
        from extract.pipeline import ingest

        suite = suite_from_store(store, run.prompt_set_id)
        with _stage(store, progress, run.id) as inner:
            ingest(store, config, suite, progress=inner, resume=run.id)
    if until == "extract":
        return Outcome(run.id)
    return _finish(store, run.id, config, progress, analyzed=run.state in ANALYZED)


def extract(store: Store, config: RunConfig, suite: PromptSuite, progress: Progress) -> str:
    """Runs both models on the prompts, or reuses the newest matching extraction; returns the run's id."""
    with _stage(store, progress) as inner:
        if config.skip_activations:
            from extract.reuse import reuse_extraction

            return reuse_extraction(store, config, suite, progress=inner)
        from extract.pipeline import ingest

        return ingest(store, config, suite, progress=inner)


def analyze(store: Store, run_id: str, progress: Progress, *, keep: str | None = None) -> None:
    """Analyzes a run, then removes the activations that `keep` does not keep (default: the run's own setting).

    The models run again for the causal test, and are loaded when the analysis first asks for them.
    """
    from analyze.pipeline import analyze as analyze_run

    with _stage(store, progress, run_id) as inner:
        asking, proposing = _asking(store, run_id, inner), _proposing(store, run_id, inner)
        analyze_run(store, run_id, ask=asking, propose=proposing, progress=inner)
        freed = apply_keep(store, run_id, keep or str(store.run(run_id).config["keep_activations"]))
    if freed:
        store.event(
            run_id, "analyze", "choice", f"{freed} bytes of activations were removed", value=float(freed)
        )


def _asking(store: Store, run_id: str, progress: Progress) -> Callable[[], None]:
    """What lets the models answer the analysis's open requests. They are loaded once."""

    @cache
    def prober() -> Prober:
        from extract.probes import Prober

        return Prober(store, run_id, progress)

    def ask() -> None:
        prober().answer()

    return ask


def _proposing(store: Store, run_id: str, progress: Progress) -> Propose | None:
    """What asks the run's naming model for names; None if the run has none."""
    config = RunConfig(**store.run(run_id).config)
    if config.naming_model is None:
        return None
    from extract.naming import Namer

    return Namer(store.folder, config.naming_model, config, progress.note).propose


def report(store: Store, run_id: str, progress: Progress, *, report_format: str, charts: bool) -> list[Path]:
    """Renders a run and returns the files. Marks the run complete if its latest analysis is finished."""
    from render.report import render_report

    with _stage(store, progress, run_id) as inner:
        files = render_report(store, run_id, report_format=report_format, charts=charts, progress=inner)
    if store.run(run_id).state in ANALYZED:
        store.set_state(run_id, "complete", "render")
    return files


def _finish(
    store: Store, run_id: str, config: RunConfig, progress: Progress, *, analyzed: bool = False
) -> Outcome:
    if not analyzed:
        analyze(store, run_id, progress, keep=config.keep_activations)
    if config.skip_report:
        store.set_state(run_id, "complete", "analyze")
        return Outcome(run_id)
    charts = not config.skip_visualization
    files = report(store, run_id, progress, report_format=config.report_format, charts=charts)
    return Outcome(run_id, tuple(export(store, files, config.output_dir)))


def export(store: Store, files: list[Path], folder: Path) -> list[Path]:
    """Copies rendered files to another project folder, keeping their relative paths; returns the copies.

    If `folder` is the store's own folder, nothing is copied.
    """
    if folder.resolve() == store.folder.resolve():
        return files
    copies = []
    for file in files:
        copy = folder / file.resolve().relative_to(store.folder.resolve())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        copies.append(copy)
    return copies


def reached(store: Store, run_id: str, state: str) -> bool:
    """Whether the run was ever in this state."""
    return bool(
        store.rows(
            "SELECT 1 FROM run_event WHERE run_id = $run AND kind = 'state' AND message = $state LIMIT 1",
            run=run_id,
            state=state,
        )
    )


def stored_config(run: Run, **changes: Any) -> RunConfig:
    """The configuration that a run was made with, with some values replaced."""
    return make_config(None, **{**run.config, **changes})


def reconfigure(store: Store, run_id: str, changes: Mapping[str, Any]) -> None:
    """Changes analysis or report settings in a run's stored configuration; values that are None are ignored.

    Raises:
        ConfigError: a value is out of range.
        UsageError: a field was fixed by the extraction.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    fixed = {"base_model", "target_model", "prompts_file", "categories", *EXTRACTION_FIELDS}
    wrong = sorted(fixed & set(given))
    if wrong:
        raise UsageError(
            f"{wrong[0]} was fixed when the models ran.", hint="run the extraction again with the new value"
        )
    if not given:
        return
    with store.session() as session:
        run = session.get_one(Run, run_id)
        run.config = stored_config(run, **given).model_dump(mode="json")


@contextmanager
def _stage(store: Store, progress: Progress, run_id: str | None = None) -> Iterator[Progress]:
    """Gives a stage its own timings and adds them to `progress` at the end. An interruption says how to resume.

    Without `run_id`, the interrupted run is the one that the stage started.
    """
    known = _run_ids(store) if run_id is None else set()
    inner = Progress(progress.display)
    try:
        yield inner
    except KeyboardInterrupt as error:
        started = run_id or max(_run_ids(store) - known, default=None)
        resume = store.command("run", "--resume", started)
        hint = resume if started else "start the command again"
        raise InterruptedRunError("Interrupted; finished work is kept.", hint=hint) from error
    finally:
        for label, seconds in inner.seconds.items():
            progress.seconds[label] = progress.seconds.get(label, 0.0) + seconds


def _run_ids(store: Store) -> set[str]:
    with store.session() as session:
        return set(session.scalars(sa.select(Run.id)))
