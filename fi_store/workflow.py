"""The order of the stages: extract, analyze, tidy up, probe, report; the command line and the Python API use it.

The rooms are imported when a stage begins, so that a stage costs only its own libraries. Each room leaves its run in
a state that says how far it came; `resume` goes on from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fi_store.config import EXTRACTION_FIELDS, RunConfig, make_config
from fi_store.errors import FiStoreError, UsageError
from fi_store.progress import Progress
from fi_store.prompts import PromptSuite, suite_from_store
from fi_store.store import Store, apply_keep
from fi_store.store.tables import Run

ANALYZED = ("analyzed", "complete")
"""States of a run whose newest analysis came to its end."""


@dataclass(frozen=True)
class Outcome:
    """A finished run and the files that were written for it (empty without a report)."""

    run_id: str
    files: tuple[Path, ...] = ()


class InterruptedRunError(FiStoreError):
    """A person or the machine stopped the work; what was committed is kept."""

    exit_code = 130


def check_inputs(config: RunConfig) -> None:
    """Refuses what can be seen to be wrong before a store is made or a model is loaded.

    Raises:
        ModelError: a reference that stands for nothing.
        UsageError: a crosscoder file that is not one.
    """
    from analyze.pair import read_crosscoder_file
    from extract.models import parse_reference

    for reference in (config.base_model, config.target_model):
        parse_reference(reference)
    if config.crosscoder_file is not None:
        read_crosscoder_file(config.crosscoder_file)


def execute(store: Store, config: RunConfig, suite: PromptSuite, progress: Progress) -> Outcome:
    """A whole new run: extraction (or an earlier one), analysis, report."""
    run_id = extract(store, config, suite, progress)
    return _finish(store, run_id, config, progress)


def resume(
    store: Store, run: Run, config: RunConfig, progress: Progress, *, until: str = "report"
) -> Outcome:
    """Goes on with a run where it stopped; stages that are done are not done again."""
    if not reached(store, run.id, "extracted"):
        from extract.pipeline import ingest

        suite = suite_from_store(store, run.prompt_set_id)
        with _stage(store, progress, run.id) as inner:
            ingest(store, config, suite, progress=inner, resume=run.id)
    if until == "extract":
        return Outcome(run.id)
    return _finish(store, run.id, config, progress, analyzed=run.state in ANALYZED)


def extract(store: Store, config: RunConfig, suite: PromptSuite, progress: Progress) -> str:
    """Runs both models on the prompts, or takes up the newest extraction that fits; returns the run's id."""
    with _stage(store, progress) as inner:
        if config.skip_activations:
            from extract.reuse import reuse_extraction

            return reuse_extraction(store, config, suite, progress=inner)
        from extract.pipeline import ingest

        return ingest(store, config, suite, progress=inner)


def analyze(store: Store, run_id: str, progress: Progress, *, keep: str | None = None) -> None:
    """Analyzes a run, then removes the activations that are not to be kept (`keep`: by default as the run says)."""
    from analyze.pipeline import analyze as analyze_run

    with _stage(store, progress, run_id) as inner:
        analyze_run(store, run_id, progress=inner)
        freed = apply_keep(store, run_id, keep or str(store.run(run_id).config["keep_activations"]))
    if freed:
        store.event(
            run_id, "analyze", "choice", f"{freed} bytes of activations were removed", value=float(freed)
        )


def probe(store: Store, run_id: str, progress: Progress) -> tuple[int, int]:
    """Runs the models again for what the analysis asked and nobody answered yet; returns how many requests were
    answered, and how many failed."""
    from extract.probes import answer_probes

    with _stage(store, progress, run_id) as inner:
        probed = answer_probes(store, run_id, progress=inner)
        for label, seconds in inner.seconds.items():
            store.event(run_id, "probe", "timing", label, value=seconds)
    return probed


def report(store: Store, run_id: str, progress: Progress, *, report_format: str, charts: bool) -> list[Path]:
    """Renders a run; returns the files, and marks the run complete if its last analysis came to its end."""
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
    if not config.skip_probes:
        _probe_or_tell(store, run_id, progress)
    if config.skip_report:
        store.set_state(run_id, "complete", "analyze")
        return Outcome(run_id)
    charts = not config.skip_visualization
    files = report(store, run_id, progress, report_format=config.report_format, charts=charts)
    return Outcome(run_id, tuple(export(store, files, config.output_dir)))


def _probe_or_tell(store: Store, run_id: str, progress: Progress) -> None:
    """The probe stage; what keeps it from being done costs a warning, not the report of a finished analysis."""
    try:
        probe(store, run_id, progress)
    except InterruptedRunError:
        raise
    except FiStoreError as error:
        message = f"The models were not run again after the analysis (fi-store probe {run_id}): {error}"
        store.event(run_id, "probe", "warning", message)
        progress.note(message, warning=True)


def export(store: Store, files: list[Path], folder: Path) -> list[Path]:
    """Copies rendered files to a project folder other than the store's, in the same arrangement; returns the copies.

    Where the store stands in `folder` itself nothing is copied.
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
    """The configuration that a run was made with, with some values said anew."""
    return make_config(None, **{**run.config, **changes})


def reconfigure(store: Store, run_id: str, changes: Mapping[str, Any]) -> None:
    """Sets fields of the analysis or the report in a run's configuration; values that are None change nothing.

    Raises:
        ConfigError: a value outside its range.
        UsageError: a field that the extraction was made with.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    fixed = {"base_model", "target_model", "prompts_file", "categories", *EXTRACTION_FIELDS}
    wrong = sorted(fixed & set(given))
    if wrong:
        raise UsageError(
            f"{wrong[0]} was fixed when the models ran.", hint="extract again with another value"
        )
    if not given:
        return
    with store.session() as session:
        run = session.get_one(Run, run_id)
        run.config = stored_config(run, **given).model_dump(mode="json")


@contextmanager
def _stage(store: Store, progress: Progress, run_id: str | None = None) -> Iterator[Progress]:
    """A stage's own timings, added to the whole's at its end; an interruption says how to go on.

    Without `run_id` the interrupted run is the one that began inside.
    """
    known = _run_ids(store) if run_id is None else set()
    inner = Progress(progress.display)
    try:
        yield inner
    except KeyboardInterrupt as error:
        found = run_id or max(_run_ids(store) - known, default=None)
        hint = f"fi-store run --resume {found} --store {store.path}" if found else "start the command again"
        raise InterruptedRunError("Interrupted; what was finished is kept.", hint=hint) from error
    finally:
        for label, seconds in inner.seconds.items():
            progress.seconds[label] = progress.seconds.get(label, 0.0) + seconds


def _run_ids(store: Store) -> set[str]:
    with store.session() as session:
        return set(session.scalars(sa.select(Run.id)))
