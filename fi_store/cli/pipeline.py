"""The commands that do the work: demo, run, ingest, analyze, probe, report."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fi_store.cli.common import RunArgument, StoreOption, open_store, say, size
from fi_store.cli.options import (
    DEMO_FIELDS,
    RESUMABLE_FIELDS,
    ConfigFile,
    DryRunOption,
    ResumeOption,
    configuration,
    takes_config,
)
from fi_store.errors import UsageError

if TYPE_CHECKING:
    from fi_store.config import RunConfig
    from fi_store.console import RichDisplay
    from fi_store.progress import Progress
    from fi_store.records import PromptSuite
    from fi_store.store import Store
    from fi_store.workflow import Outcome


@takes_config(DEMO_FIELDS)
def demo(options: dict[str, Any]) -> None:
    """Compare a bundled real pair, offline.

    SmolLM2-135M-Instruct and a fine-tune of it, both shipped; ends with a report."""
    from fi_store.shipped import shipped

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here needs the hub, so nothing asks it
    folder = shipped("organisms")
    settings = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    chosen = folder / settings.pop("folder")
    card = json.loads((chosen / "card.json").read_text(encoding="utf-8"))
    pair = {"base_model": card["base"], "target_model": str(chosen / card["adapter"])}
    config = configuration({**settings, **pair, **options}, None)
    say(f"Base: {card['base']}. Target: the same with the adapter {card['name']}.")
    _run_new(config)


@takes_config()
def run(
    options: dict[str, Any],
    file: ConfigFile = None,
    resume: ResumeOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Compare two models: ingest, analyze, probe, report."""
    if resume is not None:
        _resume(options, file, resume, until="report")
        return
    config = configuration(options, file)
    if dry_run:
        _print_estimate(config)
        return
    _run_new(config)


@takes_config()
def ingest(
    options: dict[str, Any],
    file: ConfigFile = None,
    resume: ResumeOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Run both models and keep what they compute.

    `analyze` and `report` go on from there."""
    if resume is not None:
        _resume(options, file, resume, until="extract")
        return
    config = configuration(options, file)
    if dry_run:
        _print_estimate(config)
        return
    from fi_store import workflow
    from fi_store.store import Store

    suite = _suite(config)
    workflow.check_inputs(config)
    with Store.open(config.store_path, create=True) as store, _display() as display:
        progress = _progress(display)
        run_id = workflow.extract(store, config, suite, progress)
        _print_timings(progress)
    say(f"Run {run_id} is extracted.")
    say(f"Next: fi-store analyze {run_id}{_store_words(config.store_path)}")


def analyze(run_reference: RunArgument = "latest", store: StoreOption = None) -> None:
    """Find, test and name what differs.

    Reads an extracted run; no model is needed."""
    from fi_store import workflow

    with open_store(store, write=True) as opened, _display() as display:
        progress = _progress(display)
        run_id = opened.run(run_reference).id
        workflow.analyze(opened, run_id, progress)
        _print_results(opened, run_id)
        _print_timings(progress)
    say(f"Next: fi-store report {run_id}{_store_words(store)}")


def probe(run_reference: RunArgument = "latest", store: StoreOption = None) -> None:
    """Run the models again for what the analysis asked.

    So far the loss with each dictionary's reconstruction spliced in; `run` does it by itself."""
    from fi_store import workflow
    from fi_store.wording import count

    with open_store(store, write=True) as opened, _display() as display:
        progress = _progress(display)
        run_id = opened.run(run_reference).id
        answered, failed = workflow.probe(opened, run_id, progress)
        _print_timings(progress)
    if answered or failed:
        say(f"{count(answered, 'request')} answered" + (f", {failed} failed (see above)." if failed else "."))
    else:
        say(f"Run {run_id} has no open request.")
    say(f"Next: fi-store report {run_id}{_store_words(store)}")


def report(
    run_reference: RunArgument = "latest",
    store: StoreOption = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Copy the files into this folder too.")
    ] = None,
    report_format: Annotated[
        str | None,
        typer.Option("--report-format", help="markdown, html or both; by default as the run says."),
    ] = None,
    skip_visualization: Annotated[
        bool, typer.Option("--skip-visualization", help="Report without charts.")
    ] = False,
) -> None:
    """Make the report again, from the store alone."""
    from fi_store import workflow

    with open_store(store, write=True) as opened, _display() as display:
        progress = _progress(display)
        found = opened.run(run_reference)
        config = workflow.stored_config(found, **({"report_format": report_format} if report_format else {}))
        files = workflow.report(
            opened, found.id, progress, report_format=config.report_format, charts=not skip_visualization
        )
        files = workflow.export(opened, files, output_dir or opened.folder)
    _print_files(files)


def _run_new(config: RunConfig) -> None:
    from fi_store import workflow
    from fi_store.store import Store

    suite = _suite(config)
    workflow.check_inputs(config)
    with Store.open(config.store_path, create=True) as store, _display() as display:
        progress = _progress(display)
        outcome = workflow.execute(store, config, suite, progress)
        display.close()
        _print_ending(store, outcome, progress)


def _resume(options: dict[str, Any], file: Path | None, reference: str, *, until: str) -> None:
    """Goes on with a run; its configuration comes from the store, not from here."""
    from fi_store import workflow
    from fi_store.config import make_config

    wrong = sorted(set(options) - set(RESUMABLE_FIELDS))
    if wrong or file is not None:
        what = "--config" if file is not None else "--" + wrong[0].replace("_", "-")
        raise UsageError(f"--resume goes on as the run was configured, so {what} cannot be given with it.")
    given = (
        options.get("store") or Path(options.get("output_dir", "feature_interpretation")) / "fi-store.duckdb"
    )
    with open_store(given, write=True) as store, _display() as display:
        progress = _progress(display)
        found = store.run(reference)
        place = {"store": store.path, "output_dir": options.get("output_dir", store.folder)}
        config = make_config(None, **{**found.config, **options, **place})
        outcome = workflow.resume(store, found, config, progress, until=until)
        display.close()
        if until == "report":
            _print_ending(store, outcome, progress)
        else:
            say(f"Run {found.id} is extracted.")


def _display() -> RichDisplay:
    from fi_store.console import RichDisplay

    return RichDisplay()


def _progress(display: RichDisplay) -> Progress:
    from fi_store.progress import Progress

    return Progress(display)


def _suite(config: RunConfig) -> PromptSuite:
    from fi_store.promptset import suite_of_run

    return suite_of_run(config.prompts_file, config.categories, config.limit_per_category)


def _print_estimate(config: RunConfig) -> None:
    """What the run would take, on stdout; the models are loaded for it and tried on a few prompts."""
    from extract.pipeline import estimate
    from fi_store.progress import Progress

    found = estimate(config, _suite(config), progress=Progress())
    say(found.sentence())
    say(
        f"Free: {size(found.free_disk)} of disk"
        + (f", {size(found.free_memory)} of memory." if found.free_memory else ".")
    )
    say("Dry run: nothing was written.")


def _store_words(path: Path | None) -> str:
    """How later commands name this store, where it is not the one that they take by themselves."""
    from fi_store.cli.options import DEFAULT_STORE

    return "" if path is None or Path(path) == DEFAULT_STORE else f" --store {path}"


def _print_ending(store: Store, outcome: Outcome, progress: Progress) -> None:
    say()
    _print_results(store, outcome.run_id)
    _print_timings(progress)
    say()
    _print_files(list(outcome.files))
    say(f"Store:  {store.path}")
    say(f"Run:    {outcome.run_id}")
    say(f"Next:   fi-store query top_findings{_store_words(store.path)}")


def _print_results(store: Store, run_id: str) -> None:
    """The first three results as sentences, or why there is none."""
    from fi_store.results import describe_run

    for line in describe_run(store, run_id):
        say(line)


def _print_files(files: list[Path]) -> None:
    reports = [path for path in files if path.name.startswith("report.")]
    for path in sorted(reports, key=lambda path: path.suffix != ".html") or files:
        say(f"Report: {path}")


def _print_timings(progress: Progress) -> None:
    """Seconds by stage, and the largest memory that this process had."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    stages = [(label, seconds) for label, seconds in progress.seconds.items() if seconds >= 0.05]
    say()
    width = max((len(label) for label, _ in stages), default=0)
    for label, seconds in stages:
        say(f"  {label.ljust(width)} {seconds:8.1f} s")
    say(f"Peak memory {size(peak)}.")
