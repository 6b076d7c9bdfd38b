"""The finding `shortcut`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Finding, Found, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class Shortcut(Finding):
    """One place of the input alone tells a class.

    *Meaning* a mark, a frame or a stamp that only one class carries (often a trace of how the pictures were made) is all that a
    model needs to learn; without it, it knows nothing. Tables of fewer than 64 columns are not searched: there a column
    may well decide.
    """

    steady = True
    apart: float = knob(3.0, "How many standard deviations must lie between the class and all others.", low=1.0)
    readings: int = knob(3, "How many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding, for the place that tells most."""
        steps, apart = series(run, "batch/place")
        place, one = series(run, "batch/place/at")[1], series(run, "batch/place/class")[1]
        if len(apart) < self.readings or not len(apart) == len(place) == len(one):
            return []
        if not apart[-self.readings :].min() >= self.apart or (one[-self.readings :] != one[-1]).any():
            return []
        names, k = run.meta.get("classes") or [], int(one[-1])
        named = str(names[k]) if 0 <= k < len(names) else str(k)
        return [Found(
            self.name, 0.75, f"One place of the input gives {named} away",
            f"The number at place {int(place[-1])} of the input (counted from 0 along all its axes) alone keeps {named} from all "
            f"other classes: their means lie {_deviations(apart[-1])} standard deviations apart.",
            f"at the last {self.readings} readings: {', '.join(map(_deviations, apart[-self.readings:]))}", (f"class:{k}",), None,
            since(steps, apart >= self.apart), "Sure that it tells the class in the batches that were read, not that the model uses it.",
            "Look at pictures of the class at that place, and remove what only they have; an attribution shows whether the model looks there.",
            "attribution",
        )]


def _deviations(apart: float) -> str:
    """A distance in standard deviations; what is read ends at a hundred."""
    return "100 or more" if apart >= 99.95 else f"{apart:.1f}"
