"""The handle that the Python functions pass from one to the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunHandle:
    """One run in one store."""

    store: Path
    run_id: str
