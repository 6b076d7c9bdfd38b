"""The finding `cut_answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class CutAnswers(Finding):
    """Many answers of a regression are the very same number, beyond which true values lie.

    *Meaning* a function at the end (a ReLU, a clamp) cuts the answers off. Where it cuts no gradient comes back.
    """

    share: float = knob(0.1, "The share of answers from which on it is told.", low=0.0, high=1.0)
    readings: int = knob(5, "How many readings in a row.", low=2)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding."""
        steps, part = series(run, "batch/cut")
        at, side, probe = series(run, "batch/cut_at")[1], series(run, "batch/cut_side")[1], run.meta.get("probe") or {}
        ends, spread = probe.get("ends"), probe.get("spread")
        if not ends or not spread or len(part) < self.readings or not len(at) == len(side) == len(part):
            return []
        end, below = float(at[-1]), bool(side[-1] < 0)
        high = (part >= self.share) & (at == end) & (side == side[-1])
        beyond = end - ends[0] if below else ends[1] - end
        if not high[-self.readings :].all() or not beyond > 0.1 * spread:
            return []
        first, usual = since(steps, high), float(np.mean(part[-self.readings :]))
        return [Found(
            self.name, 0.7, "Answers are cut off",
            f"Since step {first} {usual:.0%} of the answers of a batch are exactly {end:.3g}, while true values of the probe set lie "
            f"{'down' if below else 'up'} to {ends[0] if below else ends[1]:.3g} and beyond. No gradient comes back from them.",
            f"share of answers that are {end:.3g}, mean of the last {self.readings} readings: {usual:.2f}", (), None, first,
            "Sure for the batches that were read.",
            "Leave out the function at the end (a ReLU, a clamp), or choose one whose range holds all true values.", "residuals",
        )]
