"""The finding `unshuffled_batches`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, last, series

if TYPE_CHECKING:
    from ..reader import RunReader


class UnshuffledBatches(Finding):
    """Each batch holds one class, or nearly so, while the training as a whole holds many.

    *Meaning* the data are sorted and not shuffled: each batch pulls all answers towards its own class, and the next one tears
    them away. It reads labels where the loss is a cross-entropy.
    """

    steady = True
    rests = ("batch/labels:readings", "batch/most")
    about = "classes"
    share: float = knob(0.6, "The share of a batch's most frequent label from which on it is told.", low=0.0, high=1.0)
    readings: int = knob(5, "Readings that are looked at.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, most = series(run, "batch/labels")
        overall, count = last(run, "batch/most", 1), last(run, "batch/count", self.readings)
        if len(most) < self.readings or not len(overall) or not len(count) or count.min() < 8:
            return []
        usual = float(np.mean(most[-self.readings :]))
        if usual < self.share or usual < 2 * overall[-1]:
            return []
        return [Diagnosis(
            self.name, 0.8, "Batches hold one class each",
            f"The most frequent label makes up {usual:.0%} of a batch, and {overall[-1]:.0%} of all batches that were read together: the training is "
            "shown one class after the other.",
            f"mean of the last {self.readings} readings, over batches of {int(np.median(count))} labels", (), None, int(steps[0]),
            "Sure for the batches that were read.", "Shuffle the training's examples (DataLoader(…, shuffle=True)).", "curves",
        )]
