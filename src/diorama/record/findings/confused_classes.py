"""The finding `confused_classes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, last, series

if TYPE_CHECKING:
    from ..reader import RunReader


class ConfusedClasses(Finding):
    """Most examples of one class are answered as another one, though the rest is mostly right.

    *Meaning* the two look alike to the model, or the labels of one were exchanged for the other's.
    """

    share: float = knob(0.5, "The share of a class that is answered as the other one.", low=0.1, high=1.0)
    readings: int = knob(12, "How many readings in a row.", low=3)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding, for the worst pair."""
        steps, share = series(run, "batch/confused")
        one, other = series(run, "batch/confused/from")[1], series(run, "batch/confused/as")[1]
        if not (self.readings <= len(share) == len(one) == len(other)):
            return []
        recent, right = share[-self.readings :], float(last(run, "batch/accuracy", self.readings).mean())
        same = (one[-self.readings :] == one[-1]).all() and (other[-self.readings :] == other[-1]).all()
        # A class that is still being learned is confused less at each reading.
        falling = share[-1] < 0.75 * float(np.max(recent))
        # Where one class makes up most of the labels, most answers are right without any of the others.
        most = float(last(run, "batch/labels", self.readings).mean())
        if not same or not recent.min() >= self.share or right < max(0.7, 0.5 + 0.5 * most) or falling:
            return []
        names = run.meta.get("classes") or []
        said = [str(names[int(k)]) if 0 <= int(k) < len(names) else str(int(k)) for k in (one[-1], other[-1])]
        changed = np.flatnonzero((one != one[-1]) | (other != other[-1]) | (share < self.share))
        first = int(steps[changed[-1] + 1]) if len(changed) else int(steps[0])
        return [Found(
            self.name, 0.6, f"{said[0]} is taken for {said[1]}",
            f"{share[-1]:.0%} of the examples of {said[0]} in the training's batches are answered as {said[1]}, though {right:.0%} "
            "of all answers are right.",
            f"share at the last {self.readings} readings: {recent.min():.2f} to {recent.max():.2f}",
            (f"class:{int(one[-1])}", f"class:{int(other[-1])}"), None, first, "Sure for the batches that were read.",
            "Look at examples of both: are the labels right, and does the input show the difference?", "confusion",
        )]
