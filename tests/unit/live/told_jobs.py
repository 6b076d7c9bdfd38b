"""Collects what a job tells, for tests that wait for it."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any


class Heard:
    """Callbacks of one job, and what they were called with."""

    def __init__(self) -> None:
        self.all: queue.Queue[tuple[Any, ...]] = queue.Queue()

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """What ``Pool.submit`` takes."""
        return {
            name: lambda *values, name=name: self.all.put((name, *values))
            for name in ("on_picture", "on_progress", "on_done", "on_error")
        }

    def next(self, *kinds: str) -> tuple[Any, ...]:
        """The next thing told, or the next of some kinds."""
        while True:
            told = self.all.get(timeout=120)
            if not kinds or told[0] in kinds:
                return told

    def end(self) -> tuple[Any, ...]:
        """How the job ended."""
        return self.next("on_done", "on_error")
