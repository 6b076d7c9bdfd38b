"""The finding `mismatched_shapes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, last, series

if TYPE_CHECKING:
    from ..reader import RunReader

_WIDE = 3.0
"""Answers that vary more than so many times as much as the true values are pulled back by what they are, whatever is true."""


class MismatchedShapes(Finding):
    """The loss of a regression compares each answer with the true values of all examples.

    *Meaning* answers of shape (n, 1) against true values of shape (n,), or the other way round, make n × n differences: the best answer
    is then the mean for everything. It shows in the gradient at the answers, which follows their order and nothing else.
    """

    rests = ("batch/alike:readings", "probe.spread")
    about = "numbers"

    readings: int = knob(5, "How many readings in a row.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, alike = series(run, "batch/alike")
        spread, within = (run.meta.get("probe") or {}).get("spread"), last(run, "batch/within", self.readings)
        if not spread or len(alike) < self.readings or len(within) < self.readings:
            return []
        if np.mean(alike) < 0.9 or not alike[-self.readings :].all() or within.max() > _WIDE * spread:
            return []
        return [Diagnosis(
            self.name, 0.85, "The loss compares every answer with every true value",
            "The loss pulls at each answer by how large it is and by nothing else, at every reading: each is compared with the true values "
            "of the whole batch, not with its own. All that can be learnt so is one answer for everything.",
            f"readings at which the gradient at the answers follows their order alone: {int(alike.sum())} of {len(alike)}", (), None, int(steps[0]),
            "Sure, where the true values of a batch differ.",
            "Bring answers and true values to one shape (answers.squeeze(1), or y[:, None]).", "residuals",
        )]
