"""What long work says to one who waits for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from .picture import Progress

FIRST, AGAIN = 10.0, 30.0
"""Seconds until the first line, and between two."""


class ProgressLine:
    """How far work is, a line on stderr: the first after ten seconds, then one each half minute; short work says nothing."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic, out: TextIO | None = None) -> None:
        self._what, self._clock, self._out = what, clock, out
        self._due = clock() + FIRST

    def __call__(self, told: Progress) -> None:
        """Say it, where it is time."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + AGAIN
        part = f"{100 * told.done / told.total:.0f} % done" if told.total > 0 else "at work"
        left = f", about {told.seconds:,.0f} s left" if told.seconds is not None else ""
        print(f"{self._what}: {part}{left}{f' ({told.note})' if told.note else ''}", file=self._out or sys.stderr, flush=True)
