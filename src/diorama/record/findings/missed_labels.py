"""The finding `missed_labels`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.numerals import counted
from ..misread_classes import surely
from . import Diagnosis, Finding, series

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats, Row, Steps

_ENOUGH = 20
"""Labels that are there, of all examples together, from which on it is no chance that they are missed."""
_RARE = 0.2
"""Labels are rare where they are a smaller share than this of all: there the share of right answers says little."""
_FALLS, _RISES = 0.25, 0.05
"""A loss that fell by a larger share of it over the second half is falling, and a share of found labels that rose by more is rising: they may still
be found."""


class MissedLabels(Finding):
    """Of several labels an example, nearly all that are there are missed, though nearly all answers are right: most labels are not there.

    *Meaning* where a label is there three times in a hundred, a network that never gives any is right ninety-seven times. The loss has as little to
    gain by finding it. Calm while the loss still falls, of labels that are answered where their chance is above one half.
    *Source* the counts of found and missed labels at the last look at the probe set; their share goes by Wilson's bound.
    """

    steady = True
    rests = ("classes/labels", "loss:steps")
    about = "several labels"
    missed: float = knob(0.7, "The share of the labels that are there that is missed, at least, chance counted in.", low=0.3, high=1.0)
    steps: int = knob(300, "Steps that a run must have for this to be told.", low=10)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all labels together."""
        loss = series(run, "loss")[1]
        if "classes/labels" not in run.row_names or run.meta.get("doubt") or len(loss) < self.steps or not np.isfinite(loss).all():
            return []
        steps, rows = run.rows("classes/labels")
        if not len(rows) or steps[-1] < self.steps:
            return []
        counts = rows[-1].reshape(-1, 4).astype(np.float64)
        found, lost, wrong, left = counts.sum(0)
        there, all_ = found + lost, counts.sum()
        if there < _ENOUGH or there > _RARE * all_ or surely(lost / there, int(there)) < self.missed:
            return []
        learns = _falls(loss) or found / there > _before(steps, rows) + _RISES
        names = [str(name) for name in run.meta.get("classes") or []]
        never = [names[k] if k < len(names) else f"label {k}" for k in np.flatnonzero((counts[:, 0] == 0) & (counts[:, 1] > 0)).tolist()]
        told = f" Never found: {', '.join(never[:4])}{f' and {len(never) - 4} more' if len(never) > 4 else ''}." if never else ""
        return [Diagnosis(
            self.name, 0.4 if learns else 0.55, "Most labels are missed",
            f"At step {int(steps[-1]):,} {int(found)} of the probe set's {counted(int(there), 'labels')} are found, {int(lost)} "
            f"missed, {int(wrong)} said "
            f"where they are not. That {(found + left) / all_:.1%} of the answers are right says little: labels are there in "
            f"{there / all_:.1%} of the cases, so "
            f"that to give none is right in {1 - there / all_:.1%}.{told}",
            f"classes/labels at step {int(steps[-1]):,}: found {int(found)}, missed {int(lost)}",
            (f"class:{int(counts[:, 1].argmax())}",), None, int(steps[-1]),
            "It still learns: they may yet be found." if learns else
            "Sure of the counts; nothing is wrong where only the order of the chances is used, or another bound than one half.",
            "Give labels that are there more weight (pos_weight of BCEWithLogitsLoss), draw their examples more often, or set a lower bound a label.",
            "confusion",
        )]


def _falls(loss: Floats) -> bool:
    """Whether the loss of the last tenth lies well below that of the middle one."""
    tenth = len(loss) // 10
    return float(np.mean(loss[-tenth:])) < (1 - _FALLS) * float(np.mean(loss[len(loss) // 2 - tenth // 2 : len(loss) // 2 + tenth // 2 + 1]))


def _before(steps: Steps, rows: Row) -> float:
    """The share that was found at the last look of the first half."""
    found, lost = rows[int(np.searchsorted(steps, steps[-1] / 2, "right")) - 1].reshape(-1, 4).astype(np.float64).sum(0)[:2]
    return float(found / max(1.0, found + lost))
