"""The command `probe`: runs the models again to answer the analysis's requests."""

from __future__ import annotations

from fi_store.cli.common import RunArgument, StoreOption, open_store, say
from fi_store.cli.running import open_display, print_timings, show_progress, store_option


def probe(run_reference: RunArgument = "latest", store: StoreOption = None) -> None:
    """Run the models again to answer the analysis's requests.

    They read and answer prompts with patches: features set to the other model's values. `run` includes this step."""
    from fi_store import workflow
    from fi_store.wording import count

    with open_store(store, write=True) as opened, open_display() as display:
        progress = show_progress(display)
        run_id = opened.run(run_reference).id
        answered, failed = workflow.probe(opened, run_id, progress)
        print_timings(progress)
    if answered or failed:
        say(f"{count(answered, 'request')} answered" + (f", {failed} failed (see above)." if failed else "."))
    else:
        say(f"Run {run_id} has no open requests.")
    say(f"Next: fi-store report {run_id}{store_option(store)}")
