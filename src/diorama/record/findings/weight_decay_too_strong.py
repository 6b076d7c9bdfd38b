"""The finding `weight_decay_too_strong`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, floor_of, judged, last, matrices, resting, series, series_between

if TYPE_CHECKING:
    from ..reader import RunReader

_APART = ("AdamW", "NAdamW", "Lion")
"""Optimizers that take the decay off the weights themselves."""
_SCALED = ("Adam", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")
"""Optimizers that add the decay to the gradient and then divide that by its own size."""
_STRONG = 1e-3
"""A decay that is added to such a gradient counts from here on."""
_READINGS = 100
"""Readings of a learning rate that there must be."""
_UNSURE = 0.5
"""Right answers whose chance is on average less than so much of the share of answers that are right are kept from becoming sure."""
_CHANCE = 0.1
"""Of the way from one answer for all to all right, no more than this is gone where nothing is learnt."""


class _DecayingGroup(NamedTuple):
    """A group of parameters whose weights decay."""

    decay: float
    rate: float
    """The middle one of the training."""
    momentum: float
    """0 where it does not lengthen what the decay takes."""
    share: float
    """How much of the weights goes at a step."""
    names: set[str] | None
    """The parameters; None for all."""
    kind: str = ""


class WeightDecayTooStrong(Finding):
    """Weight decay takes so much off the weights at each step that what is learnt does not stay.

    *Meaning* rate × decay of one group of parameters is the share that goes at a step; its inverse is about how many steps a weight remembers. It is
    known of SGD and of AdamW. Adam and its kin without the W add the decay to the gradient, which they divide by its own size: where the decay is the
    larger part a weight goes to nothing by about a rate at each step, which its size alone tells. It is an alarm
    only where the training's own answers are held down: right ones that are far from sure, or weights that
    have shrunk and answers no better than one for all. What is worse for the probe set alone is none: there decay may be what helps.
    """

    rests = ("held", "learning_rate:100")
    about = "decay"

    steps: int = knob(250, "Steps within which half of a weight is gone, at most.", low=1)
    shrunk: float = knob(0.5, "To what share of their first size weights shrink where decay decides, at most.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        if len(series(run, "learning_rate")[0]) < _READINGS:
            return []
        groups = _decaying(run)
        if found := next(filter(None, (_in_gradient(self, run, each) for each in groups if each.kind in _SCALED)), None):
            return [found]
        group = max((each for each in groups if each.kind not in _SCALED), key=lambda each: each.share, default=None)
        half = np.log(2) / group.share if group is not None and group.share > 0 else np.inf
        if group is None or half > self.steps:
            return []
        shrunk = _shrunk(run, group.names)
        held = _held_down(run, shrunk < self.shrunk)
        if not held and judged(run).learnt:
            return []
        counted = " (momentum counted in)" if group.momentum else ""
        return [Diagnosis(
            self.name, 0.75 if held else 0.4, "Weight decay is too strong" if held else "Weight decay may be too strong",
            f"A weight decay of {group.decay:.3g} at a rate of {group.rate:.3g} takes {100 * min(group.share, 1.0):.3g} % off the weights at "
            f"each step{counted}: but for what they learn, half of them is gone within {max(1, round(half))} step{'s' if half >= 1.5 else ''}."
            + (f" They have shrunk to {shrunk:.0%} of what they began with." if shrunk < self.shrunk else ""),
            f"rate × decay{' / (1 − momentum)' if group.momentum else ''} = {group.share:.2g}", (), None, 1,
            f"Sure of the share. {held}" if held else
            "Sure of the share, not of the harm: nothing says that the training's own answers are held down by it.",
            "Usual are 0.0001 (SGD) and 0.01 to 0.1 (AdamW).", "health",
        )]


def _decaying(run: RunReader) -> list[_DecayingGroup]:
    """The groups whose weights decay at a rate that is known, by the decay, rate and momentum of each."""
    held = run.meta.get("held") or {}
    kinds, groups = list(held.get("kinds") or []), held.get("groups")
    settings = held.get("settings")
    if settings is None:
        # Of several groups a record of before does not tell which of them decays.
        settings = [] if groups or len(kinds) != 1 else [[next(iter(kinds)), held.get("decay", 0.0), held.get("momentum", 0.0)]]
    found = []
    for k, (kind, decay, momentum) in enumerate(settings):
        rates = series(run, f"learning_rate/{k}" if k else "learning_rate")[1]
        if not decay or len(rates) < _READINGS or kind not in ("SGD", *_APART, *_SCALED) or not 0 <= momentum < 1:
            continue
        rate, longer = float(np.median(rates)), momentum if kind == "SGD" else 0.0
        found.append(_DecayingGroup(decay, rate, longer, rate * decay / (1 - longer), set(groups[k]) if groups else None, kind))
    return found


def _in_gradient(finding: WeightDecayTooStrong, run: RunReader, group: _DecayingGroup) -> Diagnosis | None:
    """That a decay in the gradient has drawn the weights together, and nothing is learnt; None where it has not, or the loss is another matter."""
    shrunk = _shrunk(run, group.names)
    if group.decay < _STRONG or not shrunk < finding.shrunk or not (held := _held_down(run, True)):
        return None
    return Diagnosis(
        finding.name, 0.75, "Weight decay is too strong",
        f"The weights have shrunk to {shrunk:.0%} of what they began with, in the middle of all: {group.kind} adds a weight "
        f"decay of {group.decay:.3g} to the "
        "gradient, and divides that by its own size, so that the decay pulls as strongly as all that is learnt wherever it is the larger part.",
        f"norm of the weights at the last reading beside the first: {shrunk:.2f}; weight decay {group.decay:.3g} in {group.kind}'s gradient",
        (), None, 1,
        f"Sure that they shrank, likely that the decay did it. {held}",
        f"Usual in {group.kind} are 0 to 0.0001; AdamW takes a decay of 0.01 off the weights "
        "themselves.", "health",
    )


def _held_down(run: RunReader, shrunk: bool) -> str:
    """What shows that answers to the training's own examples are held down; nothing where only the probe set's are."""
    right, most, sure = (last(run, f"batch/{name}", 10) for name in ("accuracy", "labels", "right_sure"))
    if min(len(right), len(most)) >= 3 and np.mean(most) < 0.9:
        level, chance = float(np.mean(right)), float(np.mean(most))
        if level <= chance + _CHANCE * (1 - chance):
            return f"Of the training's answers {level:.0%} are right, {chance:.0%} would be by one answer." if shrunk else ""
        if len(sure) >= 3 and np.mean(sure) < _UNSURE * level:
            return f"Of the training's answers {level:.0%} are right, but on average they have a chance of only {np.mean(sure):.0%}."
        return ""
    floor, looks = floor_of(run), series(run, "probe/loss")[1]
    # A probe loss that was lower once may have risen by overfitting.
    if not shrunk or not floor or len(looks) < 3 or looks.min() < (1 - _CHANCE) * floor:
        return ""
    return f"The probe loss is {np.median(looks[-3:]) / floor:.0%} of what one answer for all would have, and was never much lower."


def _shrunk(run: RunReader, names: set[str] | None) -> float:
    """The size of a group's weights that learn beside that at their first reading, in the middle of all; 1 where it is not known."""
    known, aside = matrices(run), resting(run)
    sizes = [
        float(norms[-1] / norms[0]) for name, _, norms in series_between(run, "weights/", "/norm")
        if name in known and name not in aside and (names is None or name in names)
        and len(norms) > 1 and norms[0] > 0 and np.isfinite(norms[-1])
    ]
    return float(np.median(sizes)) if sizes else 1.0
