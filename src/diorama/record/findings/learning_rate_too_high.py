"""The finding `learning_rate_too_high`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, judged, learning, series

if TYPE_CHECKING:
    from ..reader import RunReader

_THROWN = 3.0
"""A loss that rose to so many times its first value was thrown up."""


class LearningRateTooHigh(Finding):
    """Steps that are large beside the weights, while the loss does not fall, or after they threw it up.

    *Meaning* the training jumps over what it looks for. Where the loss falls all the same, large steps are no fault; where the first steps
    threw it up and it came back to where it began, without learning more, they are.
    """

    ratio: float = knob(0.02, "The median ratio of update to weights from which on it is told.", low=0.0, log=True)
    steps: int = knob(50, "Steps that a run must have for this to be told.", low=10)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding."""
        table = learning(run, "updates/", "/ratio")
        steps, loss = series(run, "loss")
        fine = np.isfinite(loss)
        if table is None or len(table.steps) < 5 or len(loss) < self.steps or not fine[: self.steps].all():
            return []
        loss = loss[: len(loss) if fine.all() else int(np.argmin(fine))]
        first, now = float(min(loss[0], np.median(loss[:3]))), float(np.median(loss[-max(10, len(loss) // 4) :]))
        width = max(5, len(loss) // 100)
        peak = float(np.median(loss[: len(loss) // width * width].reshape(-1, width), 1).max())
        thrown = peak > _THROWN * first and now > 0.5 * first
        if not first > 0 or (now < 0.95 * first and not thrown):
            return []
        ratios = np.nanmedian(table.values, 1)
        # Weights that one step made huge change little beside their size from then on: the largest step tells.
        usual = float(np.nanmax(ratios))
        if not usual > self.ratio:
            return []
        known = judged(run)
        if known.learnt or (now < 0.95 * first and known.learnt is None):
            return []
        factor = float(f"{min(0.5, 2e-3 / usual):.1g}")
        return [Found(
            self.name, 0.7 if known.learnt is False else 0.4, "The learning rate is too high",
            f"Steps changed the weights by up to {usual:.1%} of their size (0.1 % is usual), and the loss is {now:.3g} where it began "
            f"at {first:.3g}{f', after it had been thrown up to {peak:.3g}' if thrown else ''}.",
            f"median update / weights at the reading where it was largest: {usual:.2g}; loss {first:.3g} → {now:.3g}", (),
            ("learning_rate", {"factor": max(factor, 1e-6)}), int(table.steps[int(np.argmax(ratios > self.ratio))]),
            "Likely: large steps and a loss that does not fall go together; wrong labels would look alike."
            if known.learnt is False else "Not sure: without labels nobody knows how low the loss can get.",
            f"Multiply the rate by {factor:g}, warm it up, or clip gradients.", "curves",
        )]
