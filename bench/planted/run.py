"""Runs the parts of `make bench-planted` one after the other and keeps what each found in one results file.

A part is a module in this folder with `run(quick: bool) -> PartResult`, which may also take `work` (a folder for what
it makes, beside the results file) and `organisms` (folders with cards; empty: those that are shipped). A finished part
stands in the file's raw section and is not run again; `--again` sums up anew what the work folder holds.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.results import Figure, PartResult, read_raw, show, write_results

ORDER = ("synthetic", "edits", "organisms", "nulls")
PARTS = tuple(name for name in ORDER if (Path(__file__).parent / f"{name}.py").exists())


def main() -> None:
    """Reads the command line and runs what the file does not hold yet."""
    parser = argparse.ArgumentParser(prog="make bench-planted", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the results file (JSON)")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that it runs, judges nothing"
    )
    parser.add_argument("--organisms", type=Path, nargs="+", default=[], help="folders that hold a card.json")
    parser.add_argument("--again", action="store_true", help="also run parts that the file already holds")
    options = parser.parse_args()
    for name in options.part or PARTS:
        done = read_raw(options.out).get(name)
        asked = {"quick": options.quick, "organisms": [folder.name for folder in options.organisms]}
        if done is not None and not options.again and all(done[key] == asked[key] for key in asked):
            print(f"{name}: done before, in {done['seconds']:.0f} s")
            continue
        started = time.perf_counter()
        found = run_part(name, quick=options.quick, out=options.out, organisms=options.organisms)
        seconds = time.perf_counter() - started
        keep(options.out, name, found, asked, seconds)
        print(f"{name}: {seconds:.0f} s")
        for figure in found.figures:
            print("  " + show(figure))


def run_part(name: str, *, quick: bool, out: Path, organisms: Sequence[Path]) -> PartResult:
    """Runs a part with what it takes; the quick form has a work folder of its own."""
    part = importlib.import_module(f"bench.planted.{name}").run
    work = out.parent / f"{out.stem}-{'quick' if quick else 'work'}"
    given = {"quick": quick, "work": work, "organisms": [folder.resolve() for folder in organisms]}
    found: PartResult = part(**{key: given[key] for key in inspect.signature(part).parameters})
    return found


def keep(path: Path, name: str, found: PartResult, asked: dict[str, Any], seconds: float) -> None:
    """Adds a part to the file, in the place of an earlier form of it; `asked`: what it was run with."""
    raw: dict[str, Any] = read_raw(path)
    figures = [asdict(figure) for figure in found.figures]
    raw[name] = {**asked, "seconds": seconds, "figures": figures, "data": found.raw}
    in_order = {part: raw[part] for part in ORDER if part in raw}
    write_results(path, [Figure(**row) for part in in_order.values() for row in part["figures"]], in_order)


if __name__ == "__main__":
    main()
