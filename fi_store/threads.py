"""Decides how long OpenMP's threads spin while they wait, before torch is imported; says whether processors are free.

A thread that spins holds a processor that another process wants, and the thread that it waits for gets none. GCC's
OpenMP, which torch brings for Linux, reads these variables once, when it is loaded; others ignore the first of them.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPIN_COUNT = "1000"
"""Turns of the waiting loop before a thread sleeps; by default up to billions. Measured in bench/LOG.md."""


HIGH_LOAD = 0.5
"""Above this load for each processor, others take enough of the machine for a run to feel it."""


def high_load() -> str | None:
    """A clause about other processes that want most of the processors; None if there are none, or nobody knows."""
    processors = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= HIGH_LOAD * processors:
        return None
    return f"the load is high: {load:.1f} on {processors} processors, so a run will take longer"


def limit_spinning(environment: MutableMapping[str, str]) -> None:
    """Sets the spin count, unless the user has decided how threads wait."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT
