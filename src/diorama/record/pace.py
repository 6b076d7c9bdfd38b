"""How many steps lie between two readings of weights, gradients, updates and activations."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.errors import UsageError

SHARE = 0.015
"""The part of the training's time that readings may take; looks at the probe set take another hundredth, and snapshots half of one."""
FREE = 0.03
"""Seconds that readings at one pace may take besides, so that a short training of a small network has a dozen …"""
AHEAD = 400
"""… and so many steps have their share from the start: a training that ends before has spent what a longer one would have saved up …"""
MOST_AHEAD = 0.15
"""… but no more seconds than this, both together."""
FIRST = 10
MOST = FIRST * 2**20
"""Steps between two readings at first, and at most."""
_PARTS = 3.0
"""A whole reading costs about so many times what reading the weights alone does: the first guess, before there was one."""


class Pace:
    """Says at which steps readings are due.

    A number is kept exactly. ``"auto"`` measures what a reading costs, in the loop and in the writer, and reads as often
    as :data:`SHARE` of the training's time allows, and a little more in its beginning: at multiples of 10, then 20, 40 and
    so on, which only grow.
    """

    def __init__(self, every: int | str = "auto") -> None:
        if every != "auto" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise UsageError(f"every wants 'auto' or a number of steps of at least 1, got {every!r}")
        self.auto = every == "auto"
        self.every = FIRST if every == "auto" else int(every)
        self._began = time.monotonic()
        self._first = 0
        self._away = 0.0
        self._costs: list[float] = []

    def start(self, number: int, weights: float) -> None:
        """The training goes on after this step; reading the weights alone took so many seconds."""
        self._began, self._first, self._away = time.monotonic(), number, 0.0
        self._costs = [_PARTS * weights]

    def rested(self, seconds: float) -> None:
        """The training waited, for a person: this is no time of its own."""
        self._away += seconds

    def at_least(self, every: int) -> None:
        """Readings need lie no closer than this: the rest is given up for want of room."""
        if self.auto:
            self.every = max(self.every, every)

    def spent(self, seconds: float) -> None:
        """A reading is done, and took so long in the loop and in the writer."""
        self._costs = [*self._costs[-1:], seconds]

    @property
    def cost(self) -> float:
        """Seconds that the next reading is expected to take: the lower of the last two, since one may have been disturbed."""
        return min(self._costs, default=0.0)

    def slower(self, number: int) -> bool:
        """Whether readings lie further apart from here on; asked before a step at which one would be due.

        What all readings would have taken at this pace is held against what they may take: early ones lie close, later ones
        ever further apart, so that a training of any length has some of its beginning and some of its end.
        """
        if not self.auto:
            return False
        before, seconds, steps = self.every, self._seconds(), max(1, number - 1 - self._first)
        ahead = min(MOST_AHEAD, FREE + SHARE * seconds / steps * max(0, AHEAD - steps))
        while self.cost * steps > (SHARE * seconds + ahead) * self.every and self.every < MOST:
            self.every *= 2
        return self.every != before

    def _seconds(self) -> float:
        return max(time.monotonic() - self._began - self._away, 1e-9)


def timed(reading: Callable[[], object]) -> float:
    """Seconds that a reading takes; a short one is taken twice, since the first also warms up."""
    found: list[float] = []
    while len(found) < 2 and sum(found) < 0.1:
        began = time.perf_counter()
        reading()
        found.append(time.perf_counter() - began)
    return min(found)
