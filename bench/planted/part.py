"""One part of `make bench-planted` in a process of its own, so that stopping the driver stops it: see run.py."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path


def main() -> None:
    """Runs the part that a JSON object on the command line names, and writes what it found."""
    asked = json.loads(sys.argv[1])
    started = time.perf_counter()
    part = importlib.import_module(asked["module"]).run
    given = {
        "quick": asked["quick"],
        "work": Path(asked["work"]),
        "organisms": [Path(folder) for folder in asked["organisms"]],
    }
    found = part(**{key: given[key] for key in inspect.signature(part).parameters})
    figures = [asdict(figure) for figure in found.figures]
    made = {"figures": figures, "data": found.raw, "seconds": time.perf_counter() - started}
    Path(asked["result"]).write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main()
