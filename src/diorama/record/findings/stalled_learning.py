"""The finding `stalled_learning`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, blind, floor_of, judged
from . import last as newest
from .collapsed_code import CollapsedCode

if TYPE_CHECKING:
    from ..reader import RunReader


class StalledLearning(Finding):
    """The loss has hardly fallen since the beginning, and no longer does.

    A loss that fell from a wild beginning to what one answer for all would have, and stays there, is told alike.
    *Meaning* the training does not learn: the learning rate may be far too low or too high, the labels shuffled, or
    the gradient lost on its way.
    """

    steady = True
    rests = ("loss:steps",)
    steps: int = knob(200, "Steps that a run must have for this to be told.", low=10)
    gain: float = knob(0.05, "The part of the first loss by which it should have fallen.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        if not run.has_series("loss"):
            return []
        steps, loss = run.series("loss")
        if len(loss) < self.steps or not np.isfinite(loss).all() or not (loss > 0).all():
            return []
        tenth = len(loss) // 10
        parts = (loss[:tenth], loss[4 * tenth : 6 * tenth], loss[-tenth:])
        first, middle, last = (float(np.median(part)) for part in parts)
        if last < (1 - self.gain) * middle:
            return []
        if blind(run):
            return [Diagnosis(
                self.name, 0.6, "All inputs are the same",
                f"After {len(loss)} steps the loss is {last:.3g}, and on the probe set about what one answer for all would have: the inputs of all "
                "its examples are the same, so that no network could tell them apart.",
                f"median loss of the first, middle and last tenth: {first:.4g}, {middle:.4g}, {last:.4g}", (), None, int(steps[0]),
                "Sure for the probe set.",
                "Look at how the inputs are made: scaled to nothing, filled with one value, or read from the wrong column.", "examples",
            )]
        known = judged(run)
        if known.learnt:
            return []  # it had learnt before, and stays so
        fallen = last < (1 - self.gain) * first
        if fallen and not _for_all(run, last):
            return []
        rates = run.series("learning_rate")[1] if run.has_series("learning_rate") else np.ones(1)
        if len(rates) > 1 and rates[-1] > 1.01 * rates[: -max(1, len(rates) // 4)].max():
            return []  # it still warms up
        if (code := newest(run, "batch/code", 1)).size and not code.any():
            return self._by_code(run, last, int(steps[0]), known.learnt is None)
        # A loss with a further term (a code's divergence) may be fallen as far as that one lets it, before the code says anything.
        unknown = known.learnt is None or (run.meta.get("task") == "reconstruction" and bool(run.meta.get("measure")))
        return [Diagnosis(
            self.name, 0.4 if unknown else 0.6, "The loss does not fall" if unknown else "It does not learn",
            f"After {len(loss)} steps the loss is {last:.3g}"
            + (", which is no more than to answer everything alike" if fallen else "")
            + f"; over the first {tenth} it was {first:.3g}, in the median"
            + ". Try another learning rate, and look whether inputs and truths are scaled as the network wants them (each column near −1 to 1), "
            "whether gradients reach the first layers and whether labels and inputs belong together.",
            f"median loss of the first, middle and last tenth: {first:.4g}, {middle:.4g}, {last:.4g}",
            (), None, int(steps[0]), known.told[:1].upper() + known.told[1:] + (
                "; the training's loss is another one." if unknown else "."
            ) if known.told else
            "Not sure: without labels nobody knows how low the loss can get, and of a network that learns against another one, as in a GAN, it need "
            "not fall.", "", "curves",
        )]


    def _by_code(self, run: RunReader, loss: float, first: int, unknown: bool) -> list[Diagnosis]:
        """Of a code that is flat, and of which there are too few readings to be told by itself, no other cause is named."""
        if CollapsedCode()(run):
            told = "The code says nothing of the input, so that one answer is made for all."
        else:
            count = len(run.series("batch/code")[1])
            told = f"The code said nothing of the input when it was read last; there are too few readings ({count}) to say whether it stays so."
        return [Diagnosis(
            self.name, 0.4 if unknown else 0.6, "The loss does not fall" if unknown else "It does not learn",
            f"The loss no longer falls, and is {loss:.3g}. {told}",
            "share of the code's numbers that are active: 0 at the last reading", (), None, first, "Sure of the loss.",
            "Look at the weight of the KL term.", "curves",
        )]


def _for_all(run: RunReader, loss: float) -> bool:
    """Whether the training and the probe set have about the loss that one answer for all would have."""
    floor, probe = floor_of(run), newest(run, "probe/loss", 3)
    if not isinstance(floor, int | float) or not floor > 0 or len(probe) < 3:
        return False
    return bool(probe.min() > _ALIKE * floor and loss > _NEARLY * floor)


_ALIKE, _NEARLY = 0.95, 0.75
"""A loss above so much of what one answer for all would have is no better: on the probe set, and on the training's own examples, of which it may
know some by heart."""
