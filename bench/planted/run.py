"""Runs the parts of `make bench-planted` side by side and keeps what each found in one results file.

A part is a module in this folder with `run(quick: bool) -> PartResult`, which may also take `work` (a folder of its own
for what it makes, beside the results file), `organisms` (folders with cards; empty: those that are shipped) and `cores`
(how many it may use). Parts share the machine's cores: a run of a small model spends much of its time on one of them.
A finished part stands in the file's raw section and is not run again; `--again` sums up anew what the work folder
holds.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.results import Figure, PartResult, read_raw, show, write_results

ORDER = ("synthetic", "edits", "organisms", "nulls")
PARTS = tuple(name for name in ORDER if (Path(__file__).parent / f"{name}.py").exists())
LONGEST_FIRST = ("edits", "organisms", "synthetic", "nulls")
"""So that no core waits long for the last part."""


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
    asked = {"quick": options.quick, "organisms": [folder.name for folder in options.organisms]}
    pending = []
    for name in sorted(options.part or PARTS, key=LONGEST_FIRST.index):
        done = read_raw(options.out).get(name)
        if done is None or options.again or any(done[key] != asked[key] for key in asked):
            pending.append(name)
        else:
            print(f"{name}: done before, in {done['seconds']:.0f} s")
    if not pending:
        return
    started = time.perf_counter()
    machine = os.cpu_count() or 1
    lanes = min(len(pending), machine)
    cores = machine // lanes
    failed: list[str] = []
    os.environ["OMP_NUM_THREADS"] = str(cores)  # of the parts and of all that they start
    with ProcessPoolExecutor(lanes, get_context("spawn")) as pool:
        given = options.quick, options.out, options.organisms, cores
        running = {pool.submit(run_part, name, *given): name for name in pending}
        for part in as_completed(running):
            error = part.exception()
            if error is not None:  # said at once: the others may take an hour yet
                failed.append(running[part])
                traceback.print_exception(error)
                continue
            found, seconds = part.result()
            keep(options.out, running[part], found, asked, seconds)
            print(f"{running[part]}: {seconds:.0f} s")
            for figure in found.figures:
                print("  " + show(figure), flush=True)
    print(f"{len(pending)} parts, {lanes} at a time: {time.perf_counter() - started:.0f} s")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run_part(
    name: str, quick: bool, out: Path, organisms: Sequence[Path], cores: int
) -> tuple[PartResult, float]:
    """Runs a part with what it takes; returns what it found, and its seconds. The quick form works elsewhere."""
    started = time.perf_counter()
    part = importlib.import_module(f"bench.planted.{name}").run
    work = out.parent / f"{out.stem}-{'quick' if quick else 'work'}" / name
    folders = [folder.resolve() for folder in organisms]
    given = {"quick": quick, "work": work, "organisms": folders, "cores": cores}
    found: PartResult = part(**{key: given[key] for key in inspect.signature(part).parameters})
    return found, time.perf_counter() - started


def keep(path: Path, name: str, found: PartResult, asked: dict[str, Any], seconds: float) -> None:
    """Adds a part to the file, in the place of an earlier form of it; `asked`: what it was run with."""
    raw: dict[str, Any] = read_raw(path)
    figures = [asdict(figure) for figure in found.figures]
    raw[name] = {**asked, "seconds": seconds, "figures": figures, "data": found.raw}
    in_order = {part: raw[part] for part in ORDER if part in raw}
    write_results(path, [Figure(**row) for part in in_order.values() for row in part["figures"]], in_order)


if __name__ == "__main__":
    main()
