"""At which steps the recorder looks at the probe set, and which of these looks read the layers too."""

from __future__ import annotations

import math
import time

from .waits import OwnClock

SHARE = 0.01
"""The part of the training's time that looks at the probe set may take …"""
WATCHED = 2.5
"""… so many times as much while somebody looks at the training as it goes on: what costs nothing while nobody waits for it."""
LAYERS = 0.3
"""The part of it that goes to reading layers: what is dear there keeps nobody waiting for losses and accuracy. Once as much is saved for
layers as may be, losses and accuracy have it all."""
LAYERS_EVERY = 4
"""At most one look in so many reads the layers too."""
_AHEAD = 16.0
"""Looks at steps 10, 20, 40, 80 … have the time of so many steps from the start …"""
_MOST_AHEAD = 0.3
"""… but no more seconds than this: a short training has some of its beginning, whatever its share would be."""
_LAST = 5
"""What a look costs is told by so many."""
_UNSURE = 3
"""A cost that was measured fewer times than this is believed for …"""
_TRIAL = 30.0
"""… so many times as long: a slow first look, in which something is compiled or read from the disk, says nothing of the next."""
_FORGIVEN = 3.0
"""What one took beyond so many times its cost is not paid: it would keep the next ones waiting for minutes."""
_MOST = 2.0
"""So many looks can be saved up for: a pause of an hour buys no more."""


class Allowance:
    """Time that is saved up for something whose cost is measured each time.

    *Meaning* what it costs is the mean of the last few without the dearest of them, and no more than the last one took: on a machine that is busy
    with other work one is slow now and then, which says nothing of the next. Of a slow one no more than a few times that is paid.
    """

    def __init__(self) -> None:
        self._costs: list[float] = []
        self.start(0.0)

    def start(self, now: float) -> None:
        """Nothing is saved yet; costs that are known stay known."""
        self._at = self._tried = now
        self._saved = 0.0

    def rested(self, seconds: float) -> None:
        """This was no time of the training's own."""
        self._at += seconds
        self._tried += seconds

    @property
    def cost(self) -> float:
        """Seconds that the next is expected to take."""
        if len(self._costs) < 2:
            return self._costs[0] if self._costs else 0.0
        told = sorted(self._costs)[:-1]
        return min(sum(told) / len(told), self._costs[-1])

    def saves(self, now: float, share: float) -> None:
        """Up to now so large a share of the time was saved."""
        self._saved = min(self._saved + max(0.0, now - self._at) * share, _MOST * self.cost)
        self._at = now

    @property
    def full(self) -> bool:
        """Whether no more can be saved, as where the next one costs nothing."""
        return self._saved >= _MOST * self.cost

    def after(self, share: float) -> float:
        """The time from which the next one is affordable, if so large a share is saved from here on."""
        wanted = self._at + (self.cost - self._saved) / share
        return min(wanted, self._tried + _TRIAL * self.cost) if self.unsure else wanted

    @property
    def unsure(self) -> bool:
        """Whether the cost was hardly measured yet."""
        return len(self._costs) < _UNSURE

    def took(self, seconds: float) -> None:
        """It was done, and took so long."""
        self._costs = [*self._costs[1 - _LAST :], seconds]
        self._tried = self._at

    def pays(self) -> None:
        """The last one is paid from what was saved."""
        self._saved -= min(self._costs[-1], _FORGIVEN * self.cost)


class LookPace:
    """Says when the probe set is looked at, by what looks take of the training's time.

    *Meaning* looks lie at multiples of ten steps. Some are taken ahead, whenever the number of steps has doubled, and all others as often as their
    share of the time allows. Answers and layers have shares of their own.
    """

    def __init__(self) -> None:
        self.watched = False
        """Whether somebody looks at the training as it goes on."""
        self._answers, self._layers = Allowance(), Allowance()
        self._since = self._first = 0
        self.start(0)

    def start(self, number: int) -> None:
        """The training begins after this step: what was spent before does not count."""
        self._own = OwnClock()
        self._began, self._first, self._next, self._ahead = time.monotonic(), number, number, 0.0
        self._free = False
        # The look at the first step reads the layers, so the next ones need not.
        self._since = 1
        for each in (self._answers, self._layers):
            each.start(self._began)

    def rested(self, seconds: float) -> None:
        """The training waited, for a person: this is no time of its own."""
        self._began += seconds
        for each in (self._answers, self._layers):
            each.rested(seconds)

    @property
    def cost(self) -> float:
        """Seconds that a look is expected to take, without the layers …"""
        return self._answers.cost

    @property
    def dearest(self) -> float:
        """… and with them."""
        return self._answers.cost + self._layers.cost

    @property
    def unsure(self) -> bool:
        """Whether what a look costs was hardly measured yet."""
        return self._answers.unsure

    def affordable(self, number: int) -> bool:
        """Whether a look at this step fits into the share of the time, or is one of the first ones."""
        now = self._save()
        self._free = False
        if number >= self._next:
            self._next = self._first + 2 * (number - self._first)
            step = (now - self._began) / max(1, number - self._first)
            self._free = self._ahead + self.cost <= min(_AHEAD * step, _MOST_AHEAD)
        return self._free or self._answers.after(self._for_answers) <= now

    def rests(self, number: int) -> tuple[bool, int, float]:
        """Of the steps after this one: whether a look may come at any; and if not, the step and the time before which there is none."""
        now = self._save()
        at = self._answers.after(self._for_answers)
        if at <= now or number + 1 >= self._next:
            return True, self._next, math.inf
        return False, self._next - 1, at + self._behind  # by the clock on the wall, no sooner

    def whole(self) -> bool:
        """Whether a look that is taken now reads the layers too."""
        return self._since >= LAYERS_EVERY and self._layers.after(self._share * LAYERS) <= self._save()

    def took(self, answers: float, layers: float | None = None) -> None:
        """A look was taken: seconds for the answers, and for the layers where these were read."""
        self._answers.took(answers)
        if self._free:
            self._ahead, self._free = self._ahead + answers, False
        else:
            self._answers.pays()
        self._since += 1
        if layers is not None:
            self._layers.took(layers)
            self._layers.pays()
            self._since = 1

    @property
    def _share(self) -> float:
        return SHARE * (WATCHED if self.watched else 1.0)

    @property
    def _for_answers(self) -> float:
        return self._share * (1.0 if self._layers.full else 1 - LAYERS)

    def _save(self) -> float:
        self._behind = self._own.behind()
        now = time.monotonic() - self._behind
        self._answers.saves(now, self._for_answers)
        self._layers.saves(now, self._share * LAYERS)
        return now
