"""The finding `critic_not_held`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.numerals import plain
from . import Diagnosis, Finding, series

if TYPE_CHECKING:
    from ..reader import RunReader


class CriticNotHeld(Finding):
    """The scores of a Wasserstein critic grow steeper and steeper: nothing holds its slope, so that they measure no distance.

    *Meaning* the loss takes the scores as they are, and tells a distance between what is real and what is made only for a critic whose score
    changes no faster than its input: a gradient penalty, a spectral norm or clipped weights hold it. Else it goes down for ever.
    *Source* Arjovsky et al. 2017, Wasserstein GAN; Gulrajani et al. 2017 (gradient penalty).
    """

    rests = ("batch/steep:10",)
    about = "critic"

    steep: float = knob(30.0, "How much faster than its input a score must change.", low=1.0)
    grown: float = knob(30.0, "How many times as steep as in the beginning it must have become.", low=1.0)
    readings: int = knob(5, "Of how many readings the median is judged.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, steep = series(run, "batch/steep")
        if len(steep) < 2 * self.readings or not np.isfinite(steep).all():
            return []
        first, now = float(np.median(steep[:3])), float(np.median(steep[-self.readings :]))
        if now < self.steep or now < self.grown * first:
            return []
        since = int(steps[int(np.argmax(steep >= self.steep))])
        return [Diagnosis(
            self.name, 0.7, "Nothing holds the critic's slope",
            plain(
                f"From one example to the next its score changes {now:,.3g} times as much as the input does, and it did {first:.2g} times in the "
                "beginning. A Wasserstein loss measures a distance only while that stays near 1 (or, with clipped weights, where it is)."
            ),
            plain(f"steepest change of the score at the last {self.readings} readings: {', '.join(f'{v:.3g}' for v in steep[-self.readings:])}"),
            (), None, since, "Sure of the slope, which is at least that; likely that it harms.",
            "Add a gradient penalty (weight 10), a spectral norm to each layer, or clip the weights after each step.", "curves",
        )]
