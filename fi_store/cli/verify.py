"""The command `verify`: reads every value of a store."""

from __future__ import annotations

from fi_store.cli.common import StoreOption, open_store, say


def verify(store: StoreOption = None) -> None:
    """Read every value of every table.

    DuckDB notices a damaged block only when it is read."""
    from fi_store.store import read_every_column
    from fi_store.wording import count

    with open_store(store) as opened:
        counts = read_every_column(opened)
    rows = count(sum(counts.values()), "row")
    say(f"Every column of {count(len(counts), 'table')} was read ({rows}): no problems.")
