"""How long work tells a person that it goes on, and how its timings reach the store.

The stages know this protocol only; the command line draws bars, Python callers get silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Display(Protocol):
    """Where progress is shown."""

    def begin(self, label: str, total: int | None) -> Callable[[int], None]:
        """Starts a task and returns what advances it by n steps."""

    def end(self, label: str, seconds: float) -> None:
        """The task is over."""

    def note(self, message: str, *, warning: bool = False) -> None:
        """A choice with its reason, or a warning."""


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
    """Wall-clock seconds by stage, in the order in which stages ended; a stage that returns adds to its own."""

    seconds: dict[str, float] = field(default_factory=dict, kw_only=True)

    @contextmanager
    def stage(self, label: str) -> Iterator[None]:
        """Times what happens inside, also when it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - started


@dataclass
class Progress(Stopwatch):
    """A stopwatch whose tasks are shown on a display while they run."""

    display: Display = field(default_factory=Silent)

    @contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A timed task; yields the function that advances it by n steps."""
        before = self.seconds.get(label, 0.0)
        advance = self.display.begin(label, total)
        try:
            with self.stage(label):
                yield advance
        finally:
            self.display.end(label, self.seconds[label] - before)

    def note(self, message: str, *, warning: bool = False) -> None:
        """Passes a choice or a warning on to the display."""
        self.display.note(message, warning=warning)
