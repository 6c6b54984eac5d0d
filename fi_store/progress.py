"""Reports progress while work runs, and measures how long each stage takes.

The stages know only this protocol. The command line draws bars; the Python functions show nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Display(Protocol):
    """Something that shows progress."""

    def begin(self, label: str, total: int | None) -> Callable[[int], None]:
        """Starts a task and returns a function that advances it by n steps."""

    def end(self, label: str, seconds: float) -> None:
        """Ends a task."""

    def note(self, message: str, *, warning: bool = False) -> None:
        """Shows a choice with its reason, or a warning."""


class Silent:
    """A display that shows nothing."""

    def begin(self, label: str, total: int | None) -> Callable[[int], None]:
        return lambda _steps: None

    def end(self, label: str, seconds: float) -> None:
        return None

    def note(self, message: str, *, warning: bool = False) -> None:
        return None


@dataclass
class Stopwatch:
    """Wall-clock seconds by stage, in the order in which stages ended. A repeated stage adds to its earlier time."""

    seconds: dict[str, float] = field(default_factory=dict, kw_only=True)

    @contextmanager
    def stage(self, label: str) -> Iterator[None]:
        """Times the block, even if it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - started


@dataclass
class Progress(Stopwatch):
    """A stopwatch that shows its tasks on a display while they run."""

    display: Display = field(default_factory=Silent)

    @contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Runs a timed task; yields a function that advances it by n steps."""
        before = self.seconds.get(label, 0.0)
        advance = self.display.begin(label, total)
        try:
            with self.stage(label):
                yield advance
        finally:
            self.display.end(label, self.seconds[label] - before)

    def note(self, message: str, *, warning: bool = False) -> None:
        """Passes a choice or a warning to the display."""
        self.display.note(message, warning=warning)
