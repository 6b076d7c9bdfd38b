"""The finding `constant_answer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, last, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class ConstantAnswer(Finding):
    """The model gives the same answer to everything, though the labels differ.

    *Meaning* it has collapsed to one class, or a regression to one number: the input has no say. Early in a training that is
    usual, so that it is told only where it lasts.
    """

    steady = True
    share: float = knob(0.98, "The share of one answer from which on it is told.", low=0.5, high=1.0)
    readings: int = knob(10, "How many readings in a row.", low=2)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding."""
        steps, answers = series(run, "batch/answers")
        labels = last(run, "batch/labels", self.readings)
        if len(answers) < self.readings or len(labels) < self.readings:
            return self._number(run)
        recent, truth = answers[-self.readings :], float(labels.mean())
        if not recent.mean() >= self.share or truth > 0.8 or 2 * int(np.sum(answers < self.share)) > len(answers):
            return []
        first = since(steps, answers >= 0.9)
        return [Found(
            self.name, 0.75, "It always gives the same answer",
            f"Since step {first} {recent.mean():.0%} of the answers to a batch are the same class, while the most frequent label "
            f"makes up {truth:.0%}.",
            f"share of the most frequent answer, mean of the last {self.readings} readings: {recent.mean():.3f}", (), None, first,
            "Sure for the batches that were read.",
            "Look for dead or saturated layers and for inputs that are all alike; lower the rate, or begin anew.", "confusion",
        )]

    def _number(self, run: RunReader) -> list[Found]:
        spread = (run.meta.get("probe") or {}).get("spread")
        steps, within = series(run, "batch/within")
        if not spread or len(within) < self.readings or not within[-self.readings :].max() < 0.02 * spread:
            return []
        first = since(steps, within < 0.02 * spread)
        return [Found(
            self.name, 0.7, "It always gives the same answer",
            f"Since step {first} the answers of a batch differ by {within[-1]:.2g} (standard deviation), the true values of the "
            f"probe set by {spread:.2g}.",
            f"standard deviation of the answers at the last {self.readings} readings: at most {within[-self.readings :].max():.2g}",
            (), None, first, "Sure, where the training's values vary as the probe set's do.",
            "Look for dead or saturated layers, for inputs that are all alike, and at the scale of the targets.", "examples",
        )]
