"""The command `gc`: lists or removes activations that are no longer needed."""

from __future__ import annotations

from typing import Annotated

import typer

from fi_store.cli.common import StoreOption, open_store, say
from fi_store.wording import size


def gc(
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Only the activations of this run.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove the files; without this they are only listed.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """List or remove activations.

    Covers archived runs and files that are not in the store, or one run with --run. Removes only with --apply."""
    from fi_store.store import apply_gc, plan_gc
    from fi_store.wording import count

    with open_store(store, write=apply) as opened:
        plan = plan_gc(opened, opened.run(run).id if run is not None else None)
        for item in plan:
            files = count(len(item.paths), "file")
            say(f"{item.run_id or 'no run'}: {files}, {size(item.n_bytes)} ({item.reason})")
        total = sum(item.n_bytes for item in plan)
        if not plan:
            say("Nothing to remove.")
        elif apply:
            say(f"Removed {size(apply_gc(opened, plan))}; results are kept.")
        else:
            say(f"{size(total)} can be removed. Next: repeat with --apply")
