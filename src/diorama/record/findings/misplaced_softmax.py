"""The finding `misplaced_softmax`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, series, since

if TYPE_CHECKING:
    from ..reader import RunReader

_TOLD = {
    1: ("The loss takes probabilities for scores", "the model's answers lay between 0 and 1 as probabilities do, and the loss made probabilities "
        "of them once more. So no answer can become sure, the loss cannot come near 0, and gradients are small",
        "Give the loss the scores before the softmax or sigmoid (cross_entropy and binary_cross_entropy_with_logits do that step themselves)."),
    2: ("The loss lacks a logarithm", "the model's answers were probabilities, of which the loss took no logarithm: it falls to -1 at best, and sure "
        "mistakes cost no more than doubts", "Take log_softmax before nll_loss, or cross_entropy of the scores."),
    3: ("Probabilities are shared out among the examples", "the model's probabilities summed to 1 over the examples of the batch, not over the "
        "classes of each example: what one example is answered depends on the others",
        "Let softmax or log_softmax run over the axis of the classes (dim=1, or -1)."),
    4: ("The loss takes probabilities for scores", "the loop made probabilities of the model's scores (by a softmax or sigmoid), and the loss made "
        "probabilities of them once more. So no answer can become sure, the loss cannot come near 0, and gradients are small",
        "Give the loss the scores themselves, as the model answers them (cross_entropy and binary_cross_entropy_with_logits do that step "
        "themselves)."),
}


class MisplacedSoftmax(Finding):
    """A softmax or sigmoid comes once too often, without its logarithm, or along the wrong axis.

    *Meaning* of a cross-entropy, which is told from its gradient: the loss takes something for scores that is none. The training runs,
    and learns badly.
    """

    rests = ("batch/form:readings",)
    about = "classes"

    readings: int = knob(5, "How many readings in a row.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, form = series(run, "batch/form")
        if len(form) < self.readings or not form[-1] or (form[-self.readings :] != form[-1]).any():
            return []
        if form[-1] not in _TOLD or (form[-1] != 4 and not run.has_series("batch/between") and not _ends_in_sigmoid(run)):
            return []  # one score an example may lie between 0 and 1 by itself
        title, text, helps = _TOLD[int(form[-1])]
        first = since(steps, form == form[-1])
        return [Diagnosis(
            self.name, 0.8, title, f"Since step {first} {text}.", f"readings at which it was so: {int(np.sum(form == form[-1]))} of {len(form)}",
            (), None, first, "Certain for the batches that were read.", helps, "confusion",
        )]


def _ends_in_sigmoid(run: RunReader) -> bool:
    layers = sorted(run.meta.get("layers") or (), key=lambda layer: layer.get("order", 0))
    return bool(layers) and any("sigmoid" in str(layers[-1].get(what, "")).lower() for what in ("kind", "squashed"))
