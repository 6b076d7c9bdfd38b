"""The finding `learning_rate_too_low`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, judged, learning, series

if TYPE_CHECKING:
    from ..reader import RunReader

_PART = 0.3
"""A loss that has fallen by this part is no loss that stands."""
_NOTHING = 1e-6
"""At this ratio ten thousand steps change the weights by a hundredth: nothing is learnt, whatever the loss does."""


class LearningRateTooLow(Finding):
    """At its highest rate so far, a step changes the weights by next to nothing, and the loss hardly falls.

    *Meaning* a ratio of update to weights of 0.001 is usual; at a hundredth of it a weight needs tens of thousands of steps to
    become another one. A training that has learnt already, one that still warms up and one whose rate a schedule has
    brought down are not meant.
    """

    ratio: float = knob(3e-5, "The median ratio of update to weights below which it is told.", low=0.0, log=True)
    steps: int = knob(150, "Steps that a run must have for this to be told.", low=10)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding."""
        table = learning(run, "updates/", "/ratio")
        steps, loss = series(run, "loss")
        if table is None or len(table.steps) < 5 or len(loss) < self.steps or not np.isfinite(loss).all():
            return []
        at = self._highest(run, table.steps)
        if at is None or at.sum() < 3:
            return []
        usual = float(np.nanmax(np.nanmedian(table.values[at], 1)))  # at the same rate it was once that much
        width = max(5, len(loss) // 10)
        first, now = float(np.median(loss[:width])), float(np.median(loss[-width:]))
        known = judged(run)
        nothing = usual < _NOTHING  # the loss of a game between networks moves by what the other one learns
        if not usual < self.ratio or (now < first - _PART * abs(first) and not nothing) or known.learnt:
            return []
        told = f" {known.told[0].upper()}{known.told[1:]}." if known.told else ""
        return [Found(
            self.name, 0.6 if nothing or known.learnt is False else 0.4, "The learning rate is too low",
            f"Each step changes the weights by {usual:.1g} of their size (0.001 is usual), and in {len(loss)} steps the loss "
            f"went from {first:.3g} to {now:.3g}.{told}",
            f"median update / weights at the highest rate, where it was largest: {usual:.2g}", (),
            ("learning_rate", {"factor": 10.0}), int(table.steps[0]),
            "Sure that the weights stand still." if nothing else
            "Likely: the loss may also be flat here." if known.learnt is False else
            "Not sure: without labels nobody knows how low the loss can get.",
            f"Try a rate about {min(1000, max(10, 10 ** round(np.log10(1e-3 / max(usual, 1e-9))))):,} times higher.", "curves",
        )]

    def _highest(self, run: RunReader, at: np.ndarray) -> np.ndarray | None:
        """Which readings were taken near the highest rate; None while the rate still rises."""
        steps, rate = series(run, "learning_rate")
        if not len(steps):
            return np.ones(len(at), bool)
        past = rate[: -max(1, len(rate) // 4)]
        if len(past) and rate[-1] > 1.01 * past.max():
            return None
        found = np.interp(at, steps, rate)
        return np.asarray(found >= 0.5 * rate.max())
