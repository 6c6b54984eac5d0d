"""Runs the parts of `make bench-planted` one after the other and collects their results in one file.

A part is a module in this folder with `run(quick: bool) -> PartResult`, which may also take `work` (the folder beside
the results file in which all parts keep their runs) and `organisms` (folders with cards; if empty, the shipped ones).
A finished part is kept in the file's raw section and not run again; `--again` summarizes the work folder anew.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from bench.results import Figure, PartResult, read_raw, show, write_results

ORDER = ("synthetic", "organisms", "nulls", "edits")
PACKAGE = "bench.planted"
THREADS = "2"
"""Threads of the one process that computes at a time."""


def main() -> None:
    """Reads the command line and runs the parts that the file does not hold yet."""
    parser = argparse.ArgumentParser(prog="make bench-planted", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the results file (JSON)")
    parser.add_argument("--part", choices=ORDER, action="append", help="only this part; may be repeated")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: checks that it runs, judges nothing"
    )
    parser.add_argument("--organisms", type=Path, nargs="+", default=[], help="folders that hold a card.json")
    parser.add_argument("--again", action="store_true", help="also run parts that the file already holds")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", THREADS)
    before = signal.signal(signal.SIGTERM, _interrupt)  # ends a command that runs; what is finished stays
    try:
        for name in sorted(options.part or ORDER, key=ORDER.index):
            run_part(name, options)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run_part(name: str, options: argparse.Namespace) -> None:
    """Runs a part, unless the file holds it, and prints its figures. The quick form has a work folder of its own."""
    out: Path = options.out.absolute()
    inputs = {"quick": options.quick, "organisms": [folder.name for folder in options.organisms]}
    done = read_raw(out).get(name)
    if done is not None and not options.again and all(done[key] == inputs[key] for key in inputs):
        print(f"{name}: done before, in {done['seconds']:.0f} s")
        return
    given = {
        "quick": options.quick,
        "work": out.parent / f"{out.stem}-{'quick' if options.quick else 'work'}",
        "organisms": [folder.resolve() for folder in options.organisms],
    }
    started = time.perf_counter()
    part = importlib.import_module(f"{PACKAGE}.{name}").run
    found: PartResult = part(**{key: given[key] for key in inspect.signature(part).parameters})
    seconds = time.perf_counter() - started
    figures = [asdict(figure) for figure in found.figures]
    keep(out, name, {**inputs, "figures": figures, "data": found.raw, "seconds": seconds})
    print(f"{name}: {seconds:.0f} s")
    for figure in found.figures:
        print("  " + show(figure), flush=True)


def keep(path: Path, name: str, made: dict[str, Any]) -> None:
    """Writes a part's result into the file, replacing an earlier one."""
    raw: dict[str, Any] = read_raw(path) | {name: made}
    in_order = {part: raw[part] for part in ORDER if part in raw}
    write_results(path, [Figure(**row) for part in in_order.values() for row in part["figures"]], in_order)


if __name__ == "__main__":
    main()
