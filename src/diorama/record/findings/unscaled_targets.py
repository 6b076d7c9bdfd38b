"""The finding `unscaled_targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.numerals import plain
from . import Diagnosis, Finding, floor_of, last, series

if TYPE_CHECKING:
    from ..reader import RunReader


class UnscaledTargets(Finding):
    """The true values of a regression lie so far from zero that the answers have not come near them: all are too low, or all too high.

    *Meaning* a network begins with answers of about 1, and a step moves them by about the learning rate: to thousands it is a long way. The loss is
    as large as the square of that distance, and so are the gradients: units are driven to their ends, and a rate that is usual elsewhere throws
    the weights about. Nothing is told once the answers lie among the true values.
    *Error* the distance is reckoned from the loss on the probe set: what it is more than that of one answer for all, and than what the answers'
    own spread may add.
    """

    steady = True
    broken = True
    rests = ("probe/loss:2", "probe.ends", "steps:steps")
    about = "numbers"
    far: float = knob(30.0, "How far from zero true values lie at least.", low=1.0)
    apart: float = knob(2.0, "How far the mean answer lies from the mean true value, in standard deviations of these.", low=0.5)
    steps: int = knob(100, "Steps that a run must have for this to be told, where its loss is finite.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        like = run.meta.get("probe") or {}
        floor, ends = floor_of(run), like.get("ends")
        steps, seen = series(run, "probe/loss")
        if not isinstance(floor, int | float) or not floor > 0 or not ends or len(seen) < 2 or not max(map(abs, ends)) >= self.far:
            return []
        fine = np.isfinite(seen)
        whole = bool(fine.all()) and bool(np.isfinite(series(run, "loss")[1]).all())
        steps, seen = steps[fine], seen[fine]
        if not len(seen) or (whole and run.last_step < self.steps):
            return []
        spread = float(np.sqrt(floor))
        at, now = (int(steps[-1]), float(seen[-1])) if whole else (int(steps[0]), float(seen[0]))
        within = last(run, "batch/within", 5)
        width = float(np.median(within[np.isfinite(within)])) if np.isfinite(within).any() and whole else 0.0
        part = floor + width**2 + 2 * width * spread
        gap = np.sqrt(max(0.0, now - part))
        if min(gap, np.sqrt(max(0.0, float(np.median(seen[-3:])) - part)) if whole else gap) < self.apart * spread:
            return []  # one look that is high is a jump, not a way that was never gone
        began = np.sqrt(max(0.0, float(seen[0]) - floor))
        count = int(steps[-1] - steps[0])
        if not whole:
            moved = "The loss is as large as the square of that, and did not stay finite."
        elif 0 < began - gap < began and count:
            # What the answers' spread may add is no part of the way.
            way = began - float(np.sqrt(max(0.0, float(seen[-1]) - floor)))
            moved = f"In {count:,} steps they came nearer by {max(0.0, way):.3g}."
            if way > 0:
                moved += f" At that pace it takes some {float(f'{gap / way * count:.1g}'):,.0f} more."
        else:
            moved = f"In {count:,} steps they came no nearer."
        low, high = (f"{end:.3g}" for end in ends)
        if low == high and ends[0] != ends[1]:
            low, high = (f"{end:,.6g}" for end in ends)
        return [Diagnosis(
            self.name, 0.8, "The true values are not scaled",
            plain(
                f"Nine tenths of the probe set's true values lie from {low} to {high}, and at step {at:,} the mean answer was about "
                f"{gap:.3g} away from their mean, {gap / spread:.1f} times as far as these lie apart: nearly all miss "
                f"to the same side. {moved}"
            ),
            plain(f"probe/loss {seen[0]:.4g} \u2192 {seen[-1]:.4g}; one answer for all would have {floor:.3g}"), (), None, int(steps[0]),
            "Sure of the distance; likely that the scale holds it up.",
            "Take the mean off the true values and divide by their deviation (and undo it on the answers), or begin the last bias at their mean.",
            "residuals",
        )]
