"""Decides how long OpenMP's threads spin while they wait. It has to be known before torch is imported.

A thread that spins holds a processor that another process wants, and the thread that it waits for gets none. GCC's
OpenMP, which torch brings for Linux, reads these variables once, when it is loaded; others ignore the first of them.
"""

from __future__ import annotations

from collections.abc import MutableMapping

SPIN_COUNT = "1000"
"""Turns of the waiting loop before a thread sleeps; by default up to billions. Measured in bench/LOG.md."""


def limit_spinning(environment: MutableMapping[str, str]) -> None:
    """Sets the spin count, unless the user has decided how threads wait."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT
