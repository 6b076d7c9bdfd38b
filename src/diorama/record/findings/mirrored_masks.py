"""The finding `mirrored_masks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ..mirrors import WAYS
from . import Diagnosis, Finding, last, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class MirroredMasks(Finding):
    """A segmentation answers where the mirror image of a mask lies, nearly as it answers where the mask lies.

    *Meaning* pictures are turned over in augmentation and their masks are not (or the other way round): half of what is asked lies on the other
    side of what is seen. It reads masks from the gradient at the scores, of batches of four pictures and more whose masks do not look like their
    own mirror image. A thing that is there twice, one on either side, and of which one alone is marked, looks the same to a network that cannot
    tell left from right.
    """

    steady = True
    rests = ("batch/mirrored:readings",)
    about = "pictures"
    share: float = knob(0.4, "How likely mirror images are answered, beside the masks themselves, from which on it is told.", low=0.0, high=1.0)
    readings: int = knob(8, "Readings that are pooled.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding, since the first of an unbroken stretch of readings."""
        steps, shares = series(run, "batch/mirrored")
        ways = last(run, "batch/mirror_way", self.readings)
        if len(shares) < self.readings or len(ways) < self.readings:
            return []
        recent = shares[-self.readings :]
        usual = float(np.median(recent))
        way = list(WAYS)[int(np.bincount(ways.astype(np.int64)).argmax())]
        if usual < self.share or np.mean(recent > self.share / 2) < 0.75:
            return []
        return [Diagnosis(
            self.name, 0.65, "Masks do not turn with their pictures",
            f"Where the mirror image of a mask lies ({way} exchanged), the answer is {usual:.0%} as likely as where the mask itself lies, both "
            "beside the places of other examples' masks: as if pictures were turned over and their masks were not.",
            f"median of the last {self.readings} readings: {usual:.2f}; 0 where a mirror image is like any other place", (), None,
            since(steps, shares >= self.share / 2),
            "Likely; things that lie on either side, of which one alone is marked, look so too.",
            "Turn, crop and shift the mask by the same numbers as its picture: one transform of both, drawn once.", "examples",
        )]
