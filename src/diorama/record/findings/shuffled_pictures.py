"""The finding `shuffled_pictures`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core.knobs import knob
from . import Diagnosis, Finding, last, series

if TYPE_CHECKING:
    from ..reader import RunReader

class ShuffledPictures(Finding):
    """Neighbouring rows (or columns) of the training's pictures are no more alike than any two of them, and columns (or rows) are.

    *Meaning* in what a camera, a scanner or a pen has made neighbours are alike, in both directions. Where they are so in one direction alone, an
    axis was shuffled, or taken apart and put together wrongly. What is no picture (channels of a measurement over time), or has grain in one
    direction (wood, cloth), is so by itself: it is an alarm only where one of the training's and the probe set's pictures are in order and the
    others are not.
    """

    steady = True
    rests = ("batch/rows:readings", "batch/columns:readings")
    about = "pictures"

    rough: float = knob(0.88, "How much neighbours differ beside any two, at least, in the direction that is out of order.", low=0.5, high=1.0)
    smooth: float = knob(0.75, "How much they differ in the other direction, at most.", low=0.1, high=1.0)
    readings: int = knob(3, "Readings that there must be.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        if min(len(last(run, f"batch/{name}", self.readings)) for name in ("rows", "columns")) < self.readings:
            return []
        down, across = (float(last(run, f"batch/{name}", 1)[0]) for name in ("rows", "columns"))
        known: Any = (run.meta.get("probe") or {}).get("order")
        for which, other, rough, smooth, place in (("rows", "columns", down, across, 0), ("columns", "rows", across, down, 1)):
            probe = float(known[place]) if known else None
            if smooth > self.smooth:
                continue
            if rough >= self.rough and rough > 1.2 * smooth:
                there = probe is not None and probe <= self.smooth
                return [self._told(run, "The training's", which, other, rough, smooth, probe if there else None)]
            if rough <= self.smooth and probe is not None and probe >= self.rough:
                return [self._told(run, "The probe set's", which, other, probe, float(known[1 - place]), rough)]
        return []

    def _told(
        self, run: RunReader, whose: str, which: str, other: str, rough: float, smooth: float, elsewhere: float | None,
    ) -> Diagnosis:
        others = "the probe set" if "training" in whose else "the training"
        beside = "" if elsewhere is None else f" Those of {others} are in order ({elsewhere:.2f})."
        return Diagnosis(
            self.name, 0.75 if elsewhere is not None else 0.4,
            f"{whose} pictures {'have' if elsewhere is not None else 'may have'} their {which} out of order",
            f"Neighbouring {which} of {whose[0].lower()}{whose[1:]} pictures differ as much as any two of a picture ({rough:.2f} of it), "
            f"neighbouring {other} only {smooth:.2f}.{beside}",
            f"mean squared difference of neighbours beside that of any two: {which} {rough:.2f}, {other} {smooth:.2f}", (), None,
            int(series(run, "batch/rows")[0][0]),
            "Sure for the pictures that were read." if elsewhere is not None else
            f"Sure of the numbers; what has no order along its {which} (channels of a measurement) or has grain (wood, cloth) is so by itself.",
            "Look at examples, and along which axis the data are shuffled, reshaped or joined.", "examples",
        )
