"""When a training looks for commands between two steps, and when it does all else that is done now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .requests import Inbox

LOOK = 0.05
"""Seconds between two looks for commands, and of the processor's time between two rounds …"""
LATEST = 0.5
"""… which come after so many seconds at the latest: a loop that waits for something uses little of the processor."""


class Rounds:
    """A look for commands asks the system whether anybody has sent one; a round does all else, and takes what was sent.

    *Meaning* a machine that is busy with other work gives a loop few steps in the time between two looks, so that each of them pays a large
    part of one. A round, which costs a hundred microseconds, therefore goes by the time that the loop has of the processor.
    """

    def __init__(self, inbox: Inbox, shared: Callable[[], bool]) -> None:
        self._inbox, self._shared = inbox, shared
        self.until = 0.0
        """The time before which nobody need be asked for anything."""
        self._resting = math.inf
        self._looked = self._went = self._used = 0.0

    def due(self, now: float) -> bool:
        """Whether it is time for a round: the usual time since the last, or somebody has sent something."""
        if now - self._looked < LOOK:
            return False
        # Where processes train together, each round also looks at what the others have said.
        if now - self._went >= LATEST or self._shared() or time.thread_time() - self._used >= LOOK or self._inbox.changed:
            return True
        self._looked = now
        return False

    def begin(self, now: float) -> None:
        """A round is made."""
        self._looked = self._went = now
        self._used = time.thread_time()

    def hurry(self) -> None:
        """The next round is due at once."""
        self._looked = self._went = 0.0

    def rest(self, until: float) -> None:
        """A step has done all that was due: before this time nothing but commands may want more of the next ones."""
        self._resting = until
        self.until = min(until, self._looked + LOOK)

    def still(self, now: float) -> bool:
        """Whether, though it is time to look, no round is due, and nothing else."""
        if now >= self._resting or self.due(now):
            return False
        self.rest(self._resting)
        return True
