"""What the stage commands share: starting and resuming a run, and printing its outcome."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fi_store.cli.common import open_store, say
from fi_store.cli.options import RESUMABLE_FIELDS
from fi_store.commands import DEFAULT_FOLDER, DEFAULT_STORE
from fi_store.errors import UsageError
from fi_store.wording import size

if TYPE_CHECKING:
    from fi_store.config import RunConfig
    from fi_store.console import RichDisplay
    from fi_store.progress import Progress
    from fi_store.prompts import PromptSuite
    from fi_store.store import Store
    from fi_store.workflow import Outcome


def run_new(config: RunConfig) -> None:
    """Makes a new run through all stages."""
    from fi_store import workflow
    from fi_store.store import Store

    suite = suite_of(config)
    workflow.check_inputs(config, suite)
    with Store.open(config.store_path, create=True) as store, open_display() as display:
        progress = show_progress(display)
        outcome = workflow.execute(store, config, suite, progress)
        display.close()
        print_ending(store, outcome, progress)


def resume_run(options: dict[str, Any], file: Path | None, reference: str, *, until: str) -> None:
    """Resumes a run with the configuration from the store."""
    from fi_store import workflow
    from fi_store.config import make_config

    wrong = sorted(set(options) - set(RESUMABLE_FIELDS))
    if wrong or file is not None:
        what = "--config" if file is not None else "--" + wrong[0].replace("_", "-")
        raise UsageError(f"--resume uses the run's stored configuration, so {what} cannot be given with it.")
    path = options.get("store") or Path(options.get("output_dir", DEFAULT_FOLDER)) / DEFAULT_STORE.name
    with open_store(path, write=True) as store, open_display() as display:
        progress = show_progress(display)
        found = store.run(reference)
        paths = {"store": store.path, "output_dir": options.get("output_dir", store.folder)}
        config = make_config(None, **{**found.config, **options, **paths})
        outcome = workflow.resume(store, found, config, progress, until=until)
        display.close()
        if until == "report":
            print_ending(store, outcome, progress)
        else:
            say(f"Run {found.id} is extracted.")


def open_display() -> RichDisplay:
    from fi_store.console import RichDisplay

    return RichDisplay()


def show_progress(display: RichDisplay) -> Progress:
    from fi_store.progress import Progress

    return Progress(display)


def suite_of(config: RunConfig) -> PromptSuite:
    from fi_store.prompts import suite_of_run

    return suite_of_run(config.prompts_file, config.categories, config.limit_per_category)


def print_estimate(config: RunConfig) -> None:
    """Prints what the run would need. This loads the models and tries them on a few prompts."""
    from extract.pipeline import estimate
    from fi_store import workflow

    suite = suite_of(config)
    workflow.check_inputs(config, suite)
    with open_display() as display:
        found = estimate(config, suite, progress=show_progress(display))
    say(found.sentence())
    say(
        f"Free: {size(found.free_disk)} of disk"
        + (f", {size(found.free_memory)} of memory." if found.free_memory else ".")
    )
    say("Dry run: nothing was written.")


def print_ending(store: Store, outcome: Outcome, progress: Progress) -> None:
    say()
    print_results(store, outcome.run_id)
    print_timings(progress)
    say()
    print_files(list(outcome.files))
    say(f"Store:  {store.path}")
    say(f"Run:    {outcome.run_id}")
    say(f"Next:   {store.command('query', 'top_findings')}")


def print_results(store: Store, run_id: str) -> None:
    """Prints the first three results as sentences, or why there are none."""
    from fi_store.summary import describe_run

    for line in describe_run(store, run_id):
        say(line)


def print_files(files: list[Path]) -> None:
    reports = [path for path in files if path.name.startswith("report.")]
    for path in sorted(reports, key=lambda path: path.suffix != ".html") or files:
        say(f"Report: {path}")


def print_timings(progress: Progress) -> None:
    """Prints the seconds by stage and the peak memory of this process."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    stages = [(label, seconds) for label, seconds in progress.seconds.items() if seconds >= 0.05]
    say()
    width = max((len(label) for label, _ in stages), default=0)
    for label, seconds in stages:
        say(f"  {label.ljust(width)} {seconds:8.1f} s")
    say(f"Peak memory {size(peak)}.")
