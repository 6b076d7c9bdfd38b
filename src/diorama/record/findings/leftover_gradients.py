"""The finding `leftover_gradients`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Diagnosis, Finding, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class LeftoverGradients(Finding):
    """Gradients are never set to nothing: each step goes along the sum of all that came before.

    *Meaning* ``zero_grad()`` is missing. The sum grows with the training, and steps with it. It is told where the optimizer steps at every
    step of the record (where gradients are added up on purpose it does not), and one pass is made a step.
    """

    rests = ("batch/left:3",)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, left = series(run, "batch/left")
        if len(left) < 3 or not left[-3:].all():
            return []
        first = since(steps, left > 0)
        return [Diagnosis(
            self.name, 0.85, "Gradients are not set to nothing between steps",
            f"Since step {first} the gradients of the step before were still there when those of the next one came, at each reading: they add up, "
            "and the optimizer steps along the sum of all batches so far.",
            f"readings at which they were still there: {int(left.sum())} of {len(left)}", (), None, first, "Certain for the steps that were read.",
            "Call optimizer.zero_grad() before each backward().", "curves",
        )]
