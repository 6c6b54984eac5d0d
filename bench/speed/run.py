"""Measures speed, one part after the other, and writes one results file. Run by `make bench-speed`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.results import show, write_results
from bench.speed import dictionary, peer, reading

PARTS = {"dictionary": dictionary.measure, "reading": reading.measure}


def main() -> None:
    """Reads the command line, runs the parts, writes the file."""
    parser = argparse.ArgumentParser(prog="make bench-speed", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the results file (JSON)")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: checks that it runs, judges nothing"
    )
    options = parser.parse_args()
    figures, raw = [], dict[str, Any]()
    for name in options.part or PARTS:
        found = PARTS[name](quick=options.quick)
        print("\n".join(map(show, found.figures)))
        figures += found.figures
        raw[name] = found.raw
    versions = {"dictionary-learning": peer.version()} if peer.installed() else {}
    write_results(options.out, figures, raw, **versions)


if __name__ == "__main__":
    main()
