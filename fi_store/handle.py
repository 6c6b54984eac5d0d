"""What the Python functions hand on from one to the next: a run in a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunHandle:
    """A run in a store: what the Python functions hand on from one to the next."""

    store: Path
    run_id: str
