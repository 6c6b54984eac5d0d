"""Times the statistics of one large analysis: the exploration table, the confirmation and the category contrasts.

The sizes are the method's largest case: 20,000 features, 24 categories, 500 prompts (half of them in each half), 1,000
flips behind the exploration table, 9,999 behind the confirmation of 30 candidates and their contrasts.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from analyze.stats import EXPLORE_BINS, category_contrasts, confirm, explore, pooled_fdr
from bench.results import Figure, show, write_results

GOAL_SECONDS = 60.0


def measure(features: int, categories: int, prompts: int, candidates: int, seed: int) -> dict[str, float]:
    """Seconds of each part on random theta in which 30% of the features fire on a prompt."""
    random = np.random.default_rng(seed)
    theta = random.normal(size=(prompts, features)).astype(np.float32)
    theta *= random.random((prompts, features)) < 0.3
    labels = np.asarray([f"category_{number % categories}" for number in range(prompts)])
    discovery = random.permutation(prompts) % 2 == 0
    clusters = np.arange(prompts)

    seconds = {}
    started = time.perf_counter()
    observed, null = [], np.zeros(EXPLORE_BINS)
    for chosen in [discovery, *(discovery & (labels == label) for label in np.unique(labels))]:
        t, counts = explore(theta[chosen], clusters[chosen], seed)
        observed.append(t)
        null += counts
    pooled_fdr(np.concatenate(observed), null)
    seconds["exploration"] = time.perf_counter() - started

    started = time.perf_counter()
    picked = theta[~discovery][:, :candidates].astype(np.float64)
    floors, signs = np.full(candidates, 0.01), np.ones(candidates)
    confirm(picked, signs, floors, np.ones(candidates, dtype=bool), seed)
    seconds["confirmation"] = time.perf_counter() - started

    started = time.perf_counter()
    for candidate in range(candidates):
        category_contrasts(picked[:, candidate], labels[~discovery], seed)
    seconds["category contrasts"] = time.perf_counter() - started
    return seconds


def main() -> None:
    """Reads the command line, measures and writes the results file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the results file (JSON)")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the features: checks that it runs, judges nothing"
    )
    options = parser.parse_args()
    features = 2_000 if options.quick else 20_000
    parts = measure(features, categories=24, prompts=500, candidates=30, seed=0)
    total = sum(parts.values())
    figure = Figure(
        name=f"analysis of {features:,} features x 24 categories x 500 prompts",
        value=total,
        unit="s",
        goal=f"<= {GOAL_SECONDS:.0f} s on 2 cores",
        ok=None if options.quick else total <= GOAL_SECONDS,
        detail=", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
        + f"; {os.cpu_count()} cores",
    )
    print(show(figure))
    write_results(options.out, [figure], {"seconds": parts})


if __name__ == "__main__":
    main()
