"""The finding `output_bias`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class OutputBias(Finding):
    """The scores differ between classes far more than between examples: a bias decides, not the input.

    *Meaning* whatever is shown, the same class wins, by much more than any input could change. A bias of the last layer
    that began too large, or a layer whose answers hardly vary, is the usual reason.
    """

    steady = True
    rests = ("batch/labels:readings", "batch/between:readings")
    about = "classes"
    ratio: float = knob(8.0, "How many times more the scores must differ between classes.", low=1.0)
    readings: int = knob(10, "How many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, between = series(run, "batch/between")
        others, within = series(run, "batch/within")
        if len(steps) < self.readings or not np.array_equal(steps, others) or not run.has_series("batch/labels"):
            return []
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = between / within
        high = (ratio > self.ratio) & (between > 1.0)
        if not high[-self.readings :].all():
            return []
        first = since(steps, high)
        return [Diagnosis(
            self.name, 0.65, "A bias decides the answer",
            f"Since step {first} the scores differ {ratio[-1]:.3g} times more between classes than between examples: the "
            "input hardly changes the answer." if within[-1] > 1e-6 * between[-1] else
            f"Since step {first} the scores differ between classes, and not at all between examples: the input has no say.",
            f"spread of the mean scores between classes {between[-1]:.2g}, of one class between examples {within[-1]:.2g}",
            (), None, first, "Sure for the batches that were read.",
            "Begin the last layer's bias at zero (or at the logarithm of the classes' shares), and look at the spread of the "
            "layers before it.", "distributions",
        )]
