"""Runs one part of `make bench-planted` in its own process, so that stopping the driver (run.py) stops it."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path


def main() -> None:
    """Runs the part named by a JSON object on the command line, and writes what it found."""
    request = json.loads(sys.argv[1])
    started = time.perf_counter()
    part = importlib.import_module(request["module"]).run
    given = {
        "quick": request["quick"],
        "work": Path(request["work"]),
        "organisms": [Path(folder) for folder in request["organisms"]],
    }
    found = part(**{key: given[key] for key in inspect.signature(part).parameters})
    figures = [asdict(figure) for figure in found.figures]
    made = {"figures": figures, "data": found.raw, "seconds": time.perf_counter() - started}
    Path(request["result"]).write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main()
