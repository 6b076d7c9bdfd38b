"""The finding `constant_answer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, floor_of, last, series, since

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats, Steps


class ConstantAnswer(Finding):
    """The model gives the same answer to everything, though the labels differ.

    *Meaning* it has collapsed to one class, or a regression to one number: the input has no say. Early in a training that is
    usual, so that it is told only where it lasts. Where a class is frequent a sound network may begin so too, as long as none is likelier: its
    loss lies below that of one answer for all, or its right answers are surer than its wrong ones. That is no alarm.
    """

    steady = True
    rests = ("batch/answers:readings|batch/within:readings",)
    share: float = knob(0.98, "The share of one answer from which on it is told.", low=0.5, high=1.0)
    readings: int = knob(10, "How many readings in a row.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, answers = series(run, "batch/answers")
        labels = last(run, "batch/labels", self.readings)
        if len(answers) < self.readings or len(labels) < self.readings:
            return self._number(run)
        recent, truth = answers[-self.readings :], float(labels.mean())
        if recent.mean() >= self.share and _MOST < truth < _ONE:
            return self._frequent(run, steps, answers, truth)
        if not recent.mean() >= self.share or truth > _MOST or 2 * int(np.sum(answers < self.share)) > len(answers):
            return []
        first = since(steps, answers >= 0.9)
        heard = self._heard(run, first)
        return [Diagnosis(
            self.name, 0.3 if heard else 0.75, "It always gives the same answer",
            f"Since step {first} {recent.mean():.0%} of the answers to a batch are the same class, while the most frequent label "
            f"makes up {truth:.0%}." + (f" The input has a say all the same: {heard}." if heard else ""),
            f"share of the most frequent answer, mean of the last {self.readings} readings: {recent.mean():.3f}", (), None, first,
            "Sure for the batches that were read.",
            "Usual while it has only begun. Where it stays so, give the rarer classes more weight, in the loss or among the examples." if heard
            else "Look for dead or saturated layers and for inputs that are all alike; lower the rate, or begin anew.", "confusion",
        )]

    def _frequent(self, run: RunReader, steps: Steps, answers: Floats, truth: float) -> list[Diagnosis]:
        """One class is most of the labels, and is answered throughout: nothing that is wrong by itself, and nothing of the others is learnt."""
        right, first = last(run, "batch/accuracy", self.readings), since(steps, answers >= 0.9)
        if len(answers) < 2 * self.readings or answers[-2 * self.readings :].min() < self.share or right.mean() > truth + _BETTER * (1 - truth):
            return []
        return [Diagnosis(
            self.name, 0.4, "Only the most frequent class is ever answered",
            f"Since step {first} {answers[-self.readings :].mean():.0%} of the answers to a batch are one class, which {truth:.0%} of the labels "
            f"are: {right.mean():.0%} of the answers are right without the others being told at all.",
            f"share of the most frequent answer at the last {2 * self.readings} readings: at least {answers[-2 * self.readings :].min():.3f}", (),
            None, first, "Sure for the batches that were read, not that anything else could be learnt.",
            "Read the rarer classes' own accuracy (confusion); give them more weight in the loss, or draw them more often.", "confusion",
        )]

    def _heard(self, run: RunReader, first: int) -> str:
        """What says that scores go with the input though the answer does not; empty where nothing does.

        No network that hears nothing has a lower loss than the labels' own shares have. Where the probe set was not looked at since, the
        order of right and wrong answers stands in for it.
        """
        floor, (looks, loss) = floor_of(run), series(run, "probe/loss")
        if isinstance(floor, int | float) and floor > 0 and len(looks) and looks[-1] > first:
            share = float(loss[-1]) / floor
            return f"the probe loss is {share:.0%} of what one answer for all would have at step {int(looks[-1]):,}" if share < _HEARD else ""
        order = last(run, "batch/order", self.readings)
        return f"right answers are surer than wrong ones in {order.mean():.0%} of all pairs" if len(order) and order.mean() > _SURER else ""

    def _number(self, run: RunReader) -> list[Diagnosis]:
        spread = (run.meta.get("probe") or {}).get("spread")
        steps, within = series(run, "batch/within")
        if not spread:
            return self._made(steps, within, series(run, "batch/between"))
        if len(within) < self.readings or not within[-self.readings :].max() < 0.02 * spread:
            return []
        first = since(steps, within < 0.02 * spread)
        return [Diagnosis(
            self.name, 0.7, "It always gives the same answer",
            f"Since step {first} the answers of a batch differ by {within[-1]:.2g} (standard deviation), the true values of the "
            f"probe set by {spread:.2g}.",
            f"standard deviation of the answers at the last {self.readings} readings: at most {within[-self.readings :].max():.2g}",
            (), None, first, "Sure, where the training's values vary as the probe set's do.",
            "Look for dead or saturated layers, for inputs that are all alike, and at the scale of the targets.", "examples",
        )]

    def _made(self, steps: Steps, within: Floats, between: tuple[Steps, Floats]) -> list[Diagnosis]:
        """What a network makes that has no labels, as a picture, is the same for all its inputs; it was not in the beginning."""
        if len(within) < 2 * self.readings or not np.array_equal(steps, between[0]):
            return []
        share = within / np.maximum(between[1], 1e-30)
        if not share[-self.readings :].max() < _SAME or share[:3].max() < _BEGAN * share[-1]:
            return []
        first = since(steps, share < _SAME)
        return [Diagnosis(
            self.name, 0.75, "It makes the same of everything",
            f"Since step {first} what it answers to the examples of a batch differs by {within[-1]:.2g} (standard deviation from example to "
            f"example), the numbers of one answer among each other by {between[1][-1]:.2g}; in the beginning it was {within[:3].max():.2g}.",
            f"deviation between examples as a share of that within an answer, at the last {self.readings} readings: at most "
            f"{share[-self.readings :].max():.2g}", (), None, first, "Sure for the batches that were read.",
            "Look for dead or saturated layers, for a loss that pulls all answers to one (a target of another example, a code that is held too "
            "near to nothing, a sign the wrong way round), and in a GAN at the partner.", "examples",
        )]


_MOST, _ONE, _BETTER = 0.8, 0.995, 0.1
"""A class of more than the first share of the labels is answered most by a sound network too, one of more than the second is all that there is;
and as large a part of what one answer gets wrong is right where the others are told."""
_HEARD, _SURER = 0.98, 0.7
"""A loss below this share of that of one answer for all is made from the input; of answers that do not go with it right ones are the surer
ones in a half of all pairs, and hardly ever in so many."""
_SAME, _BEGAN = 0.02, 5.0
"""Answers that differ from example to example by less than this share of what the numbers of one differ by are the same; in the beginning they
differed so many times as much."""
