"""The finding `far_answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.numerals import plain
from . import Diagnosis, Finding, floor_of, last, layer_of, series, series_between

if TYPE_CHECKING:
    from ..reader import RunReader

_LOOKS, _READINGS = 2, 5
"""Looks at the probe set, and readings of batches, that must say so one and all."""
_KEPT = 1.2
"""The root mean square of a recurrent weight times the root of its inputs, from which on it may lengthen what it hands on at each step."""


class FarAnswers(Finding):
    """The answers of a regression are larger than all true values by far, and unlike each other: they explode on the way through the network.

    *Meaning* the loss is many times what one answer for all would have, and the answers of one batch differ from each other many times as much as
    the true values do. Values that lie far from zero are another fault, whose answers lie together.
    *Source* losses at the last looks at the probe set, and the answers' deviation in the batches.
    """

    steady = True
    rests = ("probe/loss:2", "batch/within:5", "probe.floor", "probe.spread")
    about = "numbers"
    loss: float = knob(100.0, "How many times the loss of one answer for all the probe loss is, at least.", low=4.0, log=True)
    apart: float = knob(5.0, "How many times as far as the true values the answers lie apart, at least.", low=2.0, log=True)
    steps: int = knob(100, "Steps that a run must have for this to be told.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        floor, spread = floor_of(run), (run.meta.get("probe") or {}).get("spread")
        (steps, seen), within = series(run, "probe/loss"), last(run, "batch/within", _READINGS)
        if not isinstance(floor, int | float) or not floor > 0 or not spread or run.last_step < self.steps:
            return []
        if len(seen) < _LOOKS or len(within) < _READINGS or steps[-1] < self.steps or not np.isfinite([*seen[-_LOOKS:], *within]).all():
            return []
        if seen[-_LOOKS:].min() < self.loss * floor or within.min() < self.apart * spread:
            return []
        wild = _lengthening(run)
        through = ""
        if wild:
            through = f" Recurrent weights {wild[0]} began {wild[1]:.2g} times as large as what keeps a state's size, at every step of a sequence."
        return [Diagnosis(
            self.name, 0.8, "The answers lie far outside the true values",
            plain(
                f"At step {int(steps[-1]):,} the probe loss is {seen[-1]:.3g}, {seen[-1] / floor:.2g} times that of one answer for all "
                f"({floor:.3g}); "
                f"the answers of a batch lie {within[-1]:.3g} apart (standard deviation), the true values {spread:.3g}.{through}"
            ),
            plain(f"probe/loss {seen[0]:.4g} \u2192 {seen[-1]:.4g}; batch/within at the last {_READINGS} readings: at least {within.min():.3g}"),
            (layer_of(wild[0]),) if wild else (), None, int(steps[0]) if seen[0] >= self.loss * floor else int(steps[-_LOOKS]),
            "Sure that they do, and that one answer for all would be better by far; not why.",
            "Look in Activations where they grow, and begin with smaller weights there"
            + (" (nn.init.orthogonal_ for a recurrence)" if wild else "") + "; put a norm behind the layer, or clip gradients.", "residuals",
        )]


def _lengthening(run: RunReader) -> tuple[str, float] | None:
    """The recurrent weights that began largest beside what keeps a state's size, and how many times as large; None where none is too large."""
    rows = {str(name): int(shape[-1]) for name, shape, _ in run.meta.get("parameters", ()) if len(shape) == 2}  # noqa: PLR2004 - a matrix
    found = [
        (name, float(norms[0]) / np.sqrt(rows[name])) for name, steps, norms in series_between(run, "weights/", "/norm")
        if ".weight_hh" in f".{name}" and name in rows and steps[0] <= 1
    ]
    most = max(found, key=lambda each: each[1], default=None)
    return most if most is not None and most[1] > _KEPT else None
