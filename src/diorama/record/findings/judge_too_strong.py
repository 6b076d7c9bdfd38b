"""The finding `judge_too_strong`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class JudgeTooStrong(Finding):
    """The judge of a pair of networks, as in a GAN, knows all that the other makes for what it is, reading after reading.

    *Meaning* what is made never passes, so that hardly anything tells its maker which of its tries are better ones: of a loss that counts what
    passes the slope is nearly nothing, of the usual other one it is as large whatever is made. A judge learns too fast beside its partner.
    """

    rests = ("batch/fooled:readings", "batch/apart:readings")
    about = "judge"

    passed: float = knob(0.01, "How likely what is made may be held for real, in the mean, for this to be told.", low=0.0, high=1.0)
    apart: float = knob(0.97, "The share of right answers from which on it is told.", low=0.5, high=1.0)
    readings: int = knob(8, "Of how many readings the medians are judged.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, fooled = series(run, "batch/fooled")
        at, apart = series(run, "batch/apart")
        both = np.isin(steps, at)
        steps, fooled, apart = steps[both], fooled[both], apart[np.isin(at, steps)]
        if len(steps) < self.readings:
            return []
        chance, right = (np.median(np.lib.stride_tricks.sliding_window_view(values, self.readings), 1) for values in (fooled, apart))
        bad = (chance < self.passed) & (right >= self.apart)
        if not bad[-1]:
            return []
        first, last = since(steps[: len(bad)], bad), fooled[-self.readings :]
        return [Diagnosis(
            self.name, 0.6, "The judge is too strong for what it judges",
            f"Since step {first} this network knows what another one makes for what it is: in the median of the last readings it gives it a "
            f"chance of {chance[-1]:.2%} to be real, and answers {right[-1]:.1%} of its own examples rightly. Its partner "
            "hardly learns from that which of its tries are better.",
            f"mean chance that what is made is real, at the last {self.readings} readings: {', '.join(f'{v:.2g}' for v in last)}",
            (), ("learning_rate", {"factor": 0.25}), first,
            "Likely: some pairs still come together again; look whether what is made gets better.",
            "Lower the judge's learning rate or raise its partner's, let the judge step less often, or give it noise, dropout or smoothed labels.",
            "curves",
        )]
