"""The finding `unmoved_accuracy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, last, series

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats

_ASIDE = ("val", "test", "eval", "probe", "held", "dev")
"""Words in the name of an accuracy of other examples than the training's: that it stays low is another fault."""
_CHANCE = 0.1
"""An accuracy that has gone less than this part of the way from its beginning to one has not moved."""
_LOW = 0.6
"""Above it an accuracy may be as high as it gets."""
_FEWEST = 10
"""Numbers of an accuracy that there must be."""


class UnmovedAccuracy(Finding):
    """The loss falls by far, and the accuracy stays what it was in the beginning: what falls is another part of the loss.

    *Meaning* of a loss of several terms one that is larger by orders has all of the gradient, as boxes in pixels beside classes: the small one is not
    learnt, or only once the large one is done. It is told of the accuracies that the loop tells of its own batches, or where there is none, of the
    labels that the loss has.
    """

    steady = True
    rests = ("loss:steps",)
    fallen: float = knob(10.0, "How many times lower the loss is than in the beginning, at least.", low=2.0, log=True)
    steps: int = knob(200, "Steps that a run must have for this to be told.", low=10)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all accuracies."""
        loss = series(run, "loss")[1]
        if len(loss) < self.steps or not np.isfinite(loss).all() or not (loss > 0).all():
            return []
        width = len(loss) // 20
        began, now = float(np.median(loss[:width])), float(np.median(loss[-width:]))
        known = _accuracies(run)
        if now * self.fallen > began or not known or not all(_unmoved(values) for values in known.values()):
            return []
        name, values = next(iter(known.items()))
        first, level = _ends(values)
        most = last(run, "batch/labels", 10)
        chance = f", and one answer for all would have {np.mean(most):.0%}" if len(most) else ""
        return [Diagnosis(
            self.name, 0.6, "The loss falls, but the accuracy does not rise",
            f"The loss fell from {began:.3g} to {now:.3g}, while \u201c{name}\u201d was {first:.0%} in the beginning and is "
            f"{level:.0%} now{chance}. What fell is "
            "another part of the loss than the one that the accuracy goes with.",
            f"median loss of the first and last twentieth: {began:.4g}, {now:.4g}; {name}, mean of the first and last fifth: "
            f"{first:.3f}, {level:.3f}",
            (), None, 1, "Sure that the two do not go together; likely that one term of the loss is larger than the others by far.",
            "Compare the terms of the loss with each other, and bring them to one size: scale the targets (pixels to 0 to 1), or "
            "give each term a weight.",
            "curves",
        )]


def _accuracies(run: RunReader) -> dict[str, Floats]:
    """The accuracies of the training's batches: those that the loop tells, else that of the labels that the loss has."""
    own = [name for name in run.series_names if "/" not in name and "acc" in name.lower() and not any(word in name.lower() for word in _ASIDE)]
    found = {name: series(run, name)[1] for name in own or ["batch/accuracy"]}
    return {
        name: values for name, values in found.items()
        if len(values) >= _FEWEST and np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    }


def _ends(values: Floats) -> tuple[float, float]:
    """What an accuracy was over its first fifth, and is over its last."""
    fifth = max(1, len(values) // 5)
    return float(np.mean(values[:fifth])), float(np.mean(values[-fifth:]))


def _unmoved(values: Floats) -> bool:
    first, level = _ends(values)
    return level < _LOW and level - first < _CHANCE * (1 - first)
