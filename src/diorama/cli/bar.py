"""A progress bar on a terminal; elsewhere a line now and then."""

from __future__ import annotations

import sys
from typing import Any

from ..core.picture import Progress
from ..core.progress_line import ProgressLine


class Bar:
    """How far long work is, on stderr: a bar where that is a terminal, which disappears at the end unless it is to ``stay``; else a line now
    and then, where the work is long."""

    def __init__(self, text: str, total: float | None = None, *, stay: bool = False) -> None:
        self._text, self._total, self._stay = text, total, stay
        self._bar: Any = None
        self._task: Any = None
        self._waiting = ProgressLine(text)

    def __enter__(self) -> Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=not self._stay)
            self._bar.start()
            self._task = self._bar.add_task(self._text, total=self._total)
        return self

    def show(self, done: float | None, total: float | None = None, text: str = "") -> None:
        """How much is done, of how much where that is known, and what is done now."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=done, total=total if total is not None else self._total,
                description=text or self._text,
            )
        elif done is not None:
            self._waiting(Progress(done=done, total=total or self._total or 0.0, note=text))

    def close(self) -> None:
        """Let go of the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __exit__(self, *error: object) -> None:
        self.close()
