"""The finding `learning_rate_too_high`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...core.knobs import knob
from . import ALARM, Diagnosis, Finding, floor_of, from_zero, judged, last, learning, matrices, series, series_between
from .weight_decay_too_strong import WeightDecayTooStrong

if TYPE_CHECKING:
    from ..reader import RunReader

_THROWN = 3.0
"""A loss that rose to so many times its first value was thrown up."""
_GROWN = 5.0
"""Weights that are so many times as large after the first reading were thrown."""
_AWHILE = 200
"""Steps after which a loss has come down from where it happened to begin."""
_SOON = 20
"""The step up to which a reading is one of the beginning."""
_LOOKS = 4
"""Looks at the probe set from which on it is no chance that each is lower."""
_MANY, _EXACT, _MOSTLY = 4, 0.03, 0.7
"""Passes or labels that are many, and how near what a loss weighs must come to a whole mean or sum."""
_LARGE = 10.0
"""Inputs of a larger standard deviation are named beside a rate that is too high."""


class LearningRateTooHigh(Finding):
    """Steps that are large beside the weights, while the loss does not fall, or after they threw it up.

    *Meaning* the training jumps over what it looks for. Where the loss falls all the same, large steps are no fault; where the first steps
    threw it up and it came back to where it began, without learning more, they are.
    """

    broken = True
    rests = ("updates/*/ratio:5", "loss:steps")

    ratio: float = knob(0.02, "The median ratio of update to weights from which on it is told.", low=0.0, log=True)
    steps: int = knob(50, "Steps that a run must have for this to be told.", low=10)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        table = learning(run, "updates/", "/ratio")
        steps, loss = series(run, "loss")
        fine = np.isfinite(loss)
        if table is None or len(table.steps) < 5 or len(loss) < self.steps or not fine[: self.steps].all():
            return []
        loss = loss[: len(loss) if fine.all() else int(np.argmin(fine))]
        began, now = float(min(loss[0], np.median(loss[:3]))), float(np.median(loss[-max(10, len(loss) // 4) :]))
        floor = float(floor_of(run) or 0.0)
        grown = _grown(run)
        # A loss that began far above what one answer for all would have comes down by itself, and takes a while to do so.
        above = floor > 0 and (len(loss) >= _AWHILE or grown > _GROWN)
        first = min(began, floor) if above else began
        width = max(5, len(loss) // 100)
        peak = float(np.median(loss[: len(loss) // width * width].reshape(-1, width), 1).max())
        thrown = peak > _THROWN * began and now > 0.5 * first
        if not first > 0 or (now < 0.95 * first and not thrown):
            return []
        if not thrown and not grown > _GROWN and _falls(run):
            return []
        blank = from_zero(run)
        sized = [k for k, name in enumerate(table.names) if name not in blank]
        if not sized:
            return []
        ratios = np.nanmedian(table.values[:, sized], 1)
        # Weights that one step made huge change little beside their size from then on: the largest step tells.
        usual = float(np.nanmax(ratios))
        if not usual > self.ratio and not grown > _GROWN:
            return []
        if not thrown and not grown > _GROWN and any(one.severity >= ALARM for one in WeightDecayTooStrong()(run)):
            return []  # steps are large beside weights that the decay made small
        known = judged(run)
        if known.learnt or (now < 0.95 * first and known.learnt is None):
            return []
        told = f"Steps changed the weights by up to {usual:.1%} of their size (0.1 % is usual)"
        seen = f"median update / weights at the reading where it was largest: {usual:.2g}"
        if grown > _GROWN:
            told = f"The first steps made weights up to {grown:.3g} times as large"
            seen = f"norm of a weight at the first reading beside that at the beginning: up to {grown:.3g}"
        more = added(run)
        factor = float(f"{min(0.5, 2e-3 / usual):.1g}") if usual > self.ratio else 0.01
        return [Diagnosis(
            self.name, 0.7 if known.learnt is False else 0.4, f"The learning rate {'is' if known.learnt is False else 'may be'} too high",
            f"{told}, and the loss is {now:.3g} where it began "
            f"at {began:.3g}{f', after it had been thrown up to {peak:.3g}' if thrown else ''}"
            f"{f' and one answer for all would have {floor:.3g}' if first < 0.95 * began else ''}.{_inputs(run)}{more.told}",
            f"{seen}; loss {began:.3g} → {now:.3g}", (),
            ("learning_rate", {"factor": max(factor, 1e-6)}), int(table.steps[int(np.argmax(ratios > self.ratio)) if usual > self.ratio else 0]),
            "Likely: large steps and a loss that does not fall go together; wrong labels would look alike."
            if known.learnt is False else "Not sure: without labels nobody knows how low the loss can get.",
            f"{more.helps}Multiply the rate by {factor:g}, warm it up, or clip gradients.", "curves",
        )]


def _falls(run: RunReader) -> bool:
    """Whether the probe loss was lower at each look than at the one before, from the beginning on: the same examples at each, so that it falls
    though single batches of the training differ by more."""
    steps, seen = series(run, "probe/loss")
    return len(seen) >= _LOOKS and steps[0] <= 1 and bool(np.isfinite(seen).all()) and bool((np.diff(seen) < 0).all())


class StepGain(NamedTuple):
    """What makes steps larger than the rate alone."""

    told: str = ""
    helps: str = ""


def added(run: RunReader) -> StepGain:
    """That a step adds up the losses of many passes, or of all examples of a batch, where their mean is usual: told by what the loss of a pass weighs
    in its gradient."""
    passes, weight, count = (last(run, f"batch/{name}", 10) for name in ("passes", "weight", "count"))
    if not len(passes) or not len(weight) or not len(count):
        return StepGain()
    many, usual, rows = float(np.median(passes)), float(np.median(weight)), float(np.median(count))
    alike = np.mean(passes == many) >= _MOSTLY  # a look at other data within a step counts as passes too
    if many >= _MANY and alike and abs(usual - 1) < _EXACT:
        return StepGain(
            f" Each step adds up the gradients of {many:.0f} passes, and the loss of a pass is not divided by their number: steps are as large as "
            f"with {many:.0f} times the rate.", f"Divide the loss of each pass by {many:.0f}. ",
        )
    if rows >= _MANY and abs(usual / rows - 1) < _EXACT:
        return StepGain(
            f" The loss is the sum over the {rows:.0f} labels of a batch, where their mean is usual: steps are as large as with "
            f"{rows:.0f} times the rate.",
            "Take the mean over the batch. ",
        )
    return StepGain()


def _inputs(run: RunReader) -> str:
    """Inputs that are large make the same rate a higher one."""
    low, high, std = (last(run, f"batch/{name}", 10) for name in ("low", "high", "std"))
    if len(std) < 3 or not np.median(std) > _LARGE:
        return ""
    return f" The inputs are large (from {low.min():.3g} to {high.max():.3g}), which makes steps as much larger; usual are about -1 to 1."


def _grown(run: RunReader) -> float:
    """How many times larger the weight that grew most was at the first reading than at the beginning; 0 where that is not known."""
    known, most = matrices(run), 0.0
    for name, steps, norms in series_between(run, "weights/", "/norm"):
        if name in known and len(norms) > 1 and steps[0] == 0 and steps[1] <= _SOON and norms[0] > 0:
            most = max(most, float(norms[1] / norms[0]))
    return most
