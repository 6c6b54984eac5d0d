"""Runs the parts of `make bench-planted` side by side and collects their results in one file.

A part is a module in this folder with `run(quick: bool) -> PartResult`, which may also take `work` (its own folder for
what it makes, beside the results file) and `organisms` (folders with cards; if empty, the shipped ones). Parts share
the machine's cores, since a run of a small model spends much of its time on a single core. A part's number of threads
does not depend on which other parts run, so that a measurement that was stopped continues as it began.
A finished part is kept in the file's raw section and not run again; `--again` summarizes the work folder anew.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType
from typing import Any

from bench.results import Figure, read_raw, show, write_results

ORDER = ("synthetic", "edits", "organisms", "nulls")
BY_TURNS = ("edits", "organisms", "nulls", "synthetic")
"""The longest first, and last the part that can use all cores, so that no core idles while others finish."""
PACKAGE = "bench.planted"


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
    inputs = {"quick": options.quick, "organisms": [folder.name for folder in options.organisms]}
    pending = []
    for name in sorted(options.part or ORDER, key=BY_TURNS.index):
        done = read_raw(options.out).get(name)
        if done is None or options.again or any(done[key] != inputs[key] for key in inputs):
            pending.append(name)
        else:
            print(f"{name}: done before, in {done['seconds']:.0f} s")
    if pending and not run_parts(pending, options, inputs):
        raise SystemExit(1)


def run_parts(pending: list[str], options: argparse.Namespace, inputs: dict[str, Any]) -> bool:
    """Runs parts, as many at a time as the cores allow; returns whether all finished."""
    started = time.perf_counter()
    machine = os.cpu_count() or 1
    threads = max(1, machine // len(ORDER))
    lanes = min(len(pending), machine // threads)
    children: list[subprocess.Popen[bytes]] = []
    complete = True
    before = signal.signal(signal.SIGTERM, _interrupt)
    with ThreadPoolExecutor(lanes) as pool:
        running = {pool.submit(run_part, name, options, threads, children): name for name in pending}
        try:
            for part in as_completed(running):
                name, made = running[part], part.result()
                if made is None:
                    print(f"{name}: failed", flush=True)
                    complete = False
                    continue
                keep(options.out, name, made, inputs)
                print(f"{name}: {made['seconds']:.0f} s")
                for row in made["figures"]:
                    print("  " + show(Figure(**row)), flush=True)
        finally:  # when stopped, ends what runs and starts nothing more; saved results stay
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.terminate()
            signal.signal(signal.SIGTERM, before)
    print(f"{len(pending)} parts, {lanes} at a time: {time.perf_counter() - started:.0f} s")
    return complete


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run_part(
    name: str, options: argparse.Namespace, threads: int, children: list[subprocess.Popen[bytes]]
) -> dict[str, Any] | None:
    """Runs a part in its own process; returns its result, or None if it failed. The quick form has another folder."""
    out: Path = options.out.absolute()
    work = out.parent / f"{out.stem}-{'quick' if options.quick else 'work'}" / name
    work.mkdir(parents=True, exist_ok=True)
    result = work / "result.json"
    result.unlink(missing_ok=True)
    request = {
        "module": f"{PACKAGE}.{name}",
        "quick": options.quick,
        "work": str(work),
        "organisms": [str(folder.resolve()) for folder in options.organisms],
        "result": str(result),
    }
    words = [sys.executable, "-m", "bench.planted.part", json.dumps(request)]
    child = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    children.append(child)
    if child.wait() != 0:
        return None
    made: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return made


def keep(path: Path, name: str, made: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Writes a part's result into the file, replacing an earlier one; `inputs` is what it was run with."""
    raw: dict[str, Any] = read_raw(path)
    raw[name] = {**inputs, **made}
    in_order = {part: raw[part] for part in ORDER if part in raw}
    write_results(path, [Figure(**row) for part in in_order.values() for row in part["figures"]], in_order)


if __name__ == "__main__":
    main()
