"""The command `ingest`: runs both models and stores the results."""

from __future__ import annotations

from typing import Any

from fi_store.cli.common import say
from fi_store.cli.options import ConfigFile, DryRunOption, ResumeOption, configuration, takes_config
from fi_store.cli.running import (
    open_display,
    print_estimate,
    print_timings,
    resume_run,
    show_progress,
    suite_of,
)


@takes_config()
def ingest(
    options: dict[str, Any],
    file: ConfigFile = None,
    resume: ResumeOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Run both models and store what they compute.

    Continue with `analyze` and `report`."""
    if resume is not None:
        resume_run(options, file, resume, until="extract")
        return
    config = configuration(options, file)
    if dry_run:
        print_estimate(config)
        return
    from fi_store import workflow
    from fi_store.store import Store

    suite = suite_of(config)
    workflow.check_inputs(config, suite)
    with Store.open(config.store_path, create=True) as store, open_display() as display:
        progress = show_progress(display)
        run_id = workflow.extract(store, config, suite, progress)
        print_timings(progress)
    say(f"Run {run_id} is extracted.")
    say(f"Next: {store.command('analyze', run_id)}")
