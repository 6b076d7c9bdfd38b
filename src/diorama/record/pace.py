"""How many steps lie between two readings of weights, gradients, updates and activations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..core.errors import UsageError
from .waits import OwnClock

SHARE = 0.015
"""The part of the training's time that readings may take; looks at the probe set take another hundredth, and snapshots half of one."""
ALL = 0.03
"""What all of these may take together."""
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
_LAST = 5
"""What a reading costs is the middle of so many: a machine that is busy with other work makes one or two slow, which say nothing of the next."""
_NEARER = 0.8
"""Readings come closer again where this part of what they may take is enough: one pace and the next would else take turns."""


class Pace:
    """Says at which steps readings are due.

    A number is kept exactly. ``"auto"`` measures what a reading costs, in the loop and in the writer, and reads as often
    as :data:`SHARE` of the training's time allows, and a little more in its beginning: at multiples of 10, then 20, 40 and
    so on. Where readings turn out to be cheaper, or steps longer, than they seemed, they come closer again.
    """

    def __init__(self, every: int | str = "auto") -> None:
        if every != "auto" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise UsageError(f"every wants 'auto' or a number of steps of at least 1, got {every!r}")
        self.auto = every == "auto"
        self.every = FIRST if every == "auto" else int(every)
        self._began, self._own = time.monotonic(), OwnClock()
        self._first = 0
        self._away = 0.0
        self._least = self.every
        self._costs: list[float] = []
        self._guess = 0.0

    def start(self, number: int, weights: float) -> None:
        """The training goes on after this step; reading the weights alone took so many seconds."""
        self._began, self._own, self._first, self._away = time.monotonic(), OwnClock(), number, 0.0
        self._costs, self._guess = [], _PARTS * weights

    def rested(self, seconds: float) -> None:
        """The training waited, for a person: this is no time of its own."""
        self._away += seconds

    def at_least(self, every: int) -> None:
        """Readings need lie no closer than this: the rest is given up for want of room."""
        if self.auto:
            self._least = max(self._least, every)
            self.every = max(self.every, every)

    def spent(self, seconds: float) -> None:
        """A reading is done, and took so long in the loop and in the writer."""
        self._costs = [*self._costs[1 - _LAST :], seconds]
        self._guess = min(self._guess, seconds)

    @property
    def cost(self) -> float:
        """Seconds that the next reading is expected to take: the middle of the last few, of which the guess is two at first, and no more
        than either of the last two took."""
        told = [self._guess, self._guess, *self._costs][-_LAST:]
        return min(sorted(told)[(len(told) - 1) // 2], max(told[-2:]))

    @property
    def told(self) -> str:
        """How far readings lie apart, and why, as an event tells it."""
        return (f"from here on {self.every} steps lie between two readings: one costs {self.cost * 1e3:.3g} ms; all have {SHARE * 100:.2g} of the "
                f"{ALL * 100:.2g} % of the time that recording may take")

    def slower(self, number: int) -> bool:
        """Whether readings lie further apart from here on; asked before a step at which one would be due.

        What all readings would have taken at this pace is held against what they may take: early ones lie close, later ones
        ever further apart, so that a training of any length has some of its beginning and some of its end.
        """
        if not self.auto:
            return False
        before, needed = self.every, self._needed(number)
        while needed > self.every and self.every < MOST:
            self.every *= 2
        return self.every != before

    def faster(self, number: int) -> bool:
        """Whether readings lie closer from here on; asked before the step after one.

        As all that were left out count as if they had been taken, the training's share holds for all of its time so far.
        """
        before = self.every
        if not self.auto or before <= self._least:
            return False
        needed = self._needed(number) / _NEARER
        while self.every >= 2 * self._least and 2 * needed <= self.every:
            self.every //= 2
        return self.every != before

    def _needed(self, number: int) -> float:
        """Steps between two readings at which all so far would have taken what they may."""
        seconds, steps = self._seconds(), max(1, number - 1 - self._first)
        ahead = min(MOST_AHEAD, FREE + SHARE * seconds / steps * max(0, AHEAD - steps))
        allowed = SHARE * seconds + ahead
        return self.cost * steps / allowed if allowed > 0 else math.inf if self.cost > 0 else 0.0

    def _seconds(self) -> float:
        return max(time.monotonic() - self._own.behind() - self._began - self._away, 1e-9)


def timed(reading: Callable[[], object]) -> float:
    """Seconds that a reading takes; a short one is taken twice, since the first also warms up."""
    found: list[float] = []
    while len(found) < 2 and sum(found) < 0.1:
        began = time.perf_counter()
        reading()
        found.append(time.perf_counter() - began)
    return min(found)
