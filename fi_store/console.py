"""Shows progress: bars on a terminal, otherwise one line for each finished task.

Progress, choices and warnings go to stderr, so stdout holds only results. All text passes through `safe_text.visible`:
an escape sequence in a model's answer must not reach the terminal.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fi_store.safe_text import visible

SHORT_SECONDS = 1.0
"""Tasks that take less than this get no line."""


class RichDisplay:
    """A `fi_store.progress.Display` on a console (stderr by default). Close it, or use it as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> RichDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bars from the screen."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        self._tasks.clear()

    def begin(self, label: str, total: int | None) -> Callable[[int], None]:
        if not self._console.is_terminal:
            return lambda _steps: None
        bars = self._bars or self._start()
        task = bars.add_task(visible(label), total=total)
        self._tasks[label] = task
        return lambda steps: bars.advance(task, steps)

    def end(self, label: str, seconds: float) -> None:
        task = self._tasks.pop(label, None)
        if self._bars is not None and task is not None:
            self._bars.remove_task(task)
            if not self._tasks:
                self.close()
        if seconds >= SHORT_SECONDS:
            self._line(f"{label}: {seconds:.1f} s", style="dim")

    def note(self, message: str, *, warning: bool = False) -> None:
        self._line(f"Warning: {message}" if warning else message, style="yellow" if warning else None)

    def _line(self, text: str, style: str | None) -> None:
        self._console.print(visible(text, keep_newlines=True), style=style, markup=False, highlight=False)

    def _start(self) -> Progress:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._bars.start()
        return self._bars
