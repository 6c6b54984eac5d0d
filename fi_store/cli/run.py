"""The command `run`: runs all stages in turn."""

from __future__ import annotations

from typing import Any

from fi_store.cli.options import ConfigFile, DryRunOption, ResumeOption, configuration, takes_config
from fi_store.cli.running import print_estimate, resume_run, run_new


@takes_config()
def run(
    options: dict[str, Any],
    file: ConfigFile = None,
    resume: ResumeOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Compare two models: ingest, analyze, report."""
    if resume is not None:
        resume_run(options, file, resume, until="report")
        return
    config = configuration(options, file)
    if dry_run:
        print_estimate(config)
        return
    run_new(config)
