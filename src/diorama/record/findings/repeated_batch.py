"""The finding `repeated_batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, floor_of, last, series

if TYPE_CHECKING:
    from ..reader import RunReader

_BESIDE = 2.0
"""The loss on the probe set is so many times that of the training …"""
_FAR = 0.1
"""… and no less than this part of what one answer for all would have, where what was learnt from one batch does not hold there."""


class RepeatedBatch(Finding):
    """Every batch that was read holds the very same examples, and the one behind it too.

    *Meaning* the loop takes one batch again and again (``next(iter(loader))`` within the loop with a fixed order, a batch that is loaded outside of
    it). Where the batch is the whole training set nothing is wrong, so it is told only where the data are known to hold more examples, or
    where the batch is smaller than the probe set and what is learnt from it does not hold there.
    *Error* rows that are augmented differ, and are not known again.
    """

    steady = True
    rests = ("batch/again:readings",)
    readings: int = knob(5, "How many readings in a row.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding, at the first reading."""
        steps, again = series(run, "batch/again")
        rows = last(run, "batch/again_rows", self.readings)
        if len(again) < self.readings or len(rows) < self.readings or again[-self.readings :].min() < 1 or np.ptp(rows) > 0:
            return []
        whole, count = bool((again == 1).all()), int(rows[-1])
        first = int(steps[0] if whole else steps[np.flatnonzero(again < 1)[-1]])
        data = int((run.meta.get("steered") or {}).get("examples") or 0)
        if data and data <= count:
            return []
        told, sure = self._apart(run, count)
        if data > count:
            told, sure = f" The data that are drawn from hold {data:,}.", True
        if not sure:
            return []
        return [Diagnosis(
            self.name, 0.75, "Every batch is the same",
            f"{f'All {len(again) + 1}' if whole else f'The last {self.readings}'} batches that were read, and those right behind them, "
            f"hold the very same {count:,} examples.{told}",
            f"share of a batch's examples that stood in the one read before, and in the one behind that: 100% at the last {self.readings} readings",
            (), None, first,
            "Certain for the batches that were read" + ("." if data > count else ", not that there are more: where these are all, they are too few."),
            "Look at where the loop takes its batch: for batch in loader, not next(iter(loader)) or a batch taken before the loop.", "curves",
        )]

    def _apart(self, run: RunReader, count: int) -> tuple[str, bool]:
        """What the probe set says: that there are more examples than these, which are answered far worse."""
        held, mine, floor = last(run, "probe/loss", 3), last(run, "loss", 20), floor_of(run)
        if count >= int(run.meta.get("examples") or 0) or len(held) < 3 or not len(mine) or run.meta.get("measure") or not floor:
            return "", False
        now, beside = float(np.median(mine)), float(held.min())
        if not np.isfinite(now) or not beside > max(_BESIDE * now, _FAR * floor):
            return "", False
        return (
            f" The probe set holds more than that, and has a loss of {beside:.3g}, the training one of {now:.3g}: what is learnt is that batch."
        ), True
