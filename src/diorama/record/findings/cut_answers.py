"""The finding `cut_answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.numerals import counted
from ...core.selection import layer_key
from . import Diagnosis, Finding, floor_of, last, last_made, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class CutAnswers(Finding):
    """Many answers of a regression are the very same number, beyond which true values lie; or scores of classes are 0 for whole batches.

    *Meaning* a function at the end (a ReLU, a clamp) cuts the answers off. Where it cuts no gradient comes back.
    """

    rests = ("batch/cut:readings&probe.ends|batch/answers:readings&probe.balance",)

    share: float = knob(0.1, "The share of answers from which on it is told.", low=0.0, high=1.0)
    readings: int = knob(5, "How many readings in a row.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        return self._scores(run) or self._bounded(run) or self._values(run)

    def _scores(self, run: RunReader) -> list[Diagnosis]:
        """The last layer makes a score of each class, a ReLU cuts it at 0, and some classes never come above."""
        classes = len((run.meta.get("probe") or {}).get("balance") or ())
        end = last_made(run)
        if classes < 2 or end.get("units") != classes or not end.get("rectified"):
            return []
        steps, dead = series(run, f"activations/{end['name']}/dead")
        late = dead[-self.readings :]
        if len(late) < self.readings or not late.min() * classes > 0.99:
            return []
        first, count = since(steps, dead * classes > 0.99), round(float(late.min()) * classes)
        return [Diagnosis(
            self.name, 0.7, "Scores of classes are cut off",
            f"The scores come out of a ReLU: what lies below 0 is cut off, and since step {first} {counted(count, 'classes')} of {classes} or more "
            "had the score 0 for every example of a batch. No gradient comes back from them, so that they are hardly ever learnt.",
            f"share of classes whose score was 0 throughout, at the last {self.readings} readings: {', '.join(f'{share:.0%}' for share in late)}",
            (layer_key(end["name"]),), None, first, "Sure for the batches that were read.",
            "Leave out the ReLU at the end: a loss over classes wants scores of either sign.", "confusion",
        )]

    def _bounded(self, run: RunReader) -> list[Diagnosis]:
        """The numbers come out of a sigmoid or a tanh, and true ones lie beyond its ends."""
        end, probe = last_made(run), run.meta.get("probe") or {}
        low, high = _ENDS.get(str(end.get("squashed")), (-np.inf, np.inf))
        ends, spread = probe.get("ends"), probe.get("spread")
        steps = series(run, "loss")[0]
        floor, loss = floor_of(run), last(run, "probe/loss", 3)
        if not floor or len(loss) < 2 or not loss[-1] > _NO_BETTER * floor or len(steps) < _AWHILE:
            return []  # what comes out may still be scaled
        if not ends or not spread or not (ends[0] < low - 0.1 * spread or ends[1] > high + 0.1 * spread):
            return []
        return [Diagnosis(
            self.name, 0.7, "The answers cannot reach the true values",
            f"The answers come out of a {end['squashed']}, so that they lie from {low:g} to {high:g}; the true values of the probe set mostly lie "
            f"from {ends[0]:.3g} to {ends[1]:.3g}.",
            f"nine tenths of the true values of the probe set lie from {ends[0]:.3g} to {ends[1]:.3g}", (layer_key(str(end["name"])),), None,
            int(steps[0]), "Certain.",
            "Leave out the function at the end, choose one whose range holds all true values, or scale these into its range.", "examples",
        )]

    def _values(self, run: RunReader) -> list[Diagnosis]:
        """A number that many answers of a regression are, and beyond which there are true ones."""
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
        return [Diagnosis(
            self.name, 0.7, "Answers are cut off",
            f"Since step {first} {usual:.0%} of the answers of a batch are exactly {end:.3g}, while true values of the probe set lie "
            f"{'down' if below else 'up'} to {ends[0] if below else ends[1]:.3g} and beyond. No gradient comes back from them.",
            f"share of answers that are {end:.3g}, mean of the last {self.readings} readings: {usual:.2f}", (), None, first,
            "Sure for the batches that were read.",
            "Leave out the function at the end (a ReLU, a clamp), or choose one whose range holds all true values.", "residuals",
        )]


_ENDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
"""Between which numbers the answers lie that come out of such a function."""
_NO_BETTER, _AWHILE = 0.9, 100
"""It is told from a loss on that is so much of what one answer for all would have, after so many steps."""
