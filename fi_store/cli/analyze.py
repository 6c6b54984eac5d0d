"""The command `analyze`: finds, tests and names the differences in an extracted run."""

from __future__ import annotations

from fi_store.cli.common import RunArgument, StoreOption, open_store, say
from fi_store.cli.running import open_display, print_results, print_timings, show_progress


def analyze(run_reference: RunArgument = "latest", store: StoreOption = None) -> None:
    """Find, test and name the differences.

    Works on an extracted run. Its models are loaded again where causes are tested by patches."""
    from fi_store import workflow

    with open_store(store, write=True) as opened, open_display() as display:
        progress = show_progress(display)
        run_id = opened.run(run_reference).id
        workflow.analyze(opened, run_id, progress)
        print_results(opened, run_id)
        print_timings(progress)
    say(f"Next: {opened.command('report', run_id)}")
