"""The finding `learning_rate_too_low`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...core.knobs import knob
from ...core.numerals import counted
from ..past import Past
from ..ranges import NOTHING
from . import Diagnosis, Finding, Judgement, acts_between, judged, learning, series, series_between

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats

_PART = 0.3
"""A loss that has fallen by this part is no loss that stands."""
_FALLEN = 0.01
"""Below this part of its highest a rate has fallen."""
_MOVED = 0.3
"""Where fewer of the numbers change at a step, rounding takes the changes of the others."""
_READINGS = 3
"""Readings that must be there at least: a machine that is busy reads seldom."""
_SOME = 5
"""Readings of a norm from which on its third digit may differ by rounding."""
_LITTLE = 0.1
"""A norm below this, to which all gradients are cut, is none that is usual (0.5 to 10) …"""
_SLOW = 10.0
"""… and there steps that are so many times as large as those that are told elsewhere are told as well."""
_RATES = ("learning_rate", "schedule")
"""Commands that change the rate."""
_USUAL = 1e-3
"""How much of their size a step usually changes of the weights."""
_EARLY = 20.0
"""A step that is so many times smaller than a usual one, after as many steps as tell something, is early in a warm-up."""
_LONG = 200_000
"""Steps of a warm-up that no training has."""


class LearningRateTooLow(Finding):
    """At its highest rate so far, a step changes the weights by next to nothing, and the loss hardly falls.

    *Meaning* a ratio of update to weights of 0.001 is usual; at a hundredth of it a weight needs tens of thousands of steps to
    become another one. A training that has learnt already, one that still warms up and one whose rate a schedule has
    brought down are not meant; a warm-up that is a thousand times further from usual steps than that is told, and a rate that commands or
    rules brought so far down that nothing is learnt.
    """

    steady = True
    rests = ("updates/*/ratio:3", "loss:steps")
    ratio: float = knob(3e-5, "The median ratio of update to weights below which it is told.", low=0.0, log=True)
    steps: int = knob(150, "Steps that a run must have for this to be told.", low=10)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        table = learning(run, "updates/", "/ratio")
        steps, loss = series(run, "loss")
        if table is None or len(table.steps) < _READINGS or len(loss) < self.steps or not np.isfinite(loss).all():
            return []
        if lowered := self._lowered(run, table.values):
            return lowered
        known = judged(run)
        at = self._highest(run, table.steps)
        moving = table.values[:, table.values.any(0)]  # what never moves is no matter of the rate
        if not moving.size:
            return []
        if at is None:
            return self._rising(run, table.steps, moving, known)
        if at.sum() < 3:
            return self._fallen(run, len(loss), known)
        usual = float(np.nanmax(_medians(moving[at])))  # at the same rate it was once that much
        first, now = _ends_of(loss)
        nothing = usual < NOTHING  # the loss of a game between networks moves by what the other one learns
        if not usual < self.ratio * _SLOW or (now < first - _PART * abs(first) and not nothing) or known.learnt:
            return self._fallen(run, len(loss), known)
        clipped = _clipped(run)  # which takes as long as all else that is asked here
        if not usual < self.ratio * (_SLOW if clipped is not None and clipped.norm < _LITTLE else 1):
            return self._fallen(run, len(loss), known)
        told = f" {known.told[0].upper()}{known.told[1:]}." if known.told else ""
        if clipped is not None:
            return [Diagnosis(
                self.name, 0.65, "Gradients are clipped to next to nothing",
                f"At every reading {clipped.told}, to which something cuts them; so each step "
                f"changes the weights by {usual:.1g} of their size (0.001 is usual), and in {len(loss)} steps the loss went from "
                f"{first:.3g} to {now:.3g}.{told}",
                f"{clipped.seen}, the same at all {clipped.readings} readings", (), None, int(table.steps[0]),
                "Sure that they are cut and that the weights stand nearly still.",
                "Clip at a norm of about 1, where most steps are not cut.", "curves",
            )]
        moved = learning(run, "updates/", "/moved")
        lost = [kind for kind in ("bfloat16", "float16") if any(kind in str(each[2]) for each in run.meta.get("parameters", ()))]
        if lost and moved is not None and np.nanmedian(moved.values[-5:]) < _MOVED:
            told += (
                f" At a step {np.nanmedian(moved.values[-5:]):.0%} of the numbers change at all: the change of the others is lost in the rounding "
                f"of {lost[0]}. Weights in float32 (with autocast) keep it."
            )
        sure = nothing or known.learnt is False
        return [Diagnosis(
            self.name, 0.6 if sure else 0.4, f"The learning rate {'is' if sure else 'may be'} too low",
            f"Each step changes the weights by {usual:.1g} of their size (0.001 is usual), and in {len(loss)} steps the loss "
            f"went from {first:.3g} to {now:.3g}.{told}",
            f"median update / weights at the highest rate, where it was largest: {usual:.2g}", (),
            ("learning_rate", {"factor": 10.0}), int(table.steps[0]),
            "Sure that the weights stand still." if nothing else
            "Likely: the loss may also be flat here." if known.learnt is False else
            "Not sure: without labels nobody knows how low the loss can get.",
            f"Try a rate about {min(1000, max(10, 10 ** round(np.log10(1e-3 / max(usual, 1e-9))))):,} times higher.", "curves",
        )]

    def _lowered(self, run: RunReader, values: Floats) -> list[Diagnosis]:
        """Commands, by hand or by a rule, brought the rate so low that nothing is learnt any more, whatever was learnt before."""
        steps, rate = series(run, "learning_rate")
        known = values[-3:][:, values.any(0)]
        if not known.size or not len(rate) or not rate[-1] < _FALLEN * rate.max():
            return []
        usual = float(np.nanmax(_medians(known)))
        acts = [each for each in acts_between(run, int(steps[np.argmax(rate)]) - 1, run.last_step, "optimizer") if each.name in _RATES]
        if not usual < NOTHING or not acts:
            return []
        rules = sorted({event.text.partition(" came true")[0] for event in run.events if event.kind == "rule" and event.name in _RATES})
        who = f"{counted(len(acts), 'commands')}" + (f" (by {', '.join(rules)})" if rules else "")
        return [Diagnosis(
            self.name, 0.6 if rules else 0.4, "The learning rate was brought to next to nothing",
            f"{who} since step {acts[0].step} changed the learning rate, which is {rate[-1]:.2g} now and was {rate.max():.2g}. Each step changes the "
            f"weights by {usual:.1g} of their size (0.001 is usual): nothing is learnt any more.",
            f"the last: {acts[-1].text.partition(';')[0]}", (),
            None if any(each.name == "schedule" for each in acts) else ("learning_rate", {"factor": 1.0}), acts[0].step, "Certain.",
            "Take the acts back, or set another rate" + (", and end the rule or let it act a number of times (times)." if rules else "."), "curves",
        )]

    def _rising(self, run: RunReader, steps: np.ndarray, moving: np.ndarray, known: Judgement) -> list[Diagnosis]:
        """A warm-up that hardly begins: steps are next to nothing, or would need as many as no training has to become usual. Where nothing is
        learnt yet and steps are a small part of usual ones, it is said calmly how long it takes at that pace."""
        usual, now = float(np.nanmax(_medians(moving[-3:]))), int(steps[-1])
        if known.learnt or not 0 < usual < _USUAL / _EARLY:
            return []
        long = usual < NOTHING or (known.learnt is False and usual < min(self.ratio, _USUAL * now / _LONG))
        if not long and not _stands(series(run, "loss")[1]):
            return []
        rate = series(run, "learning_rate")[1]
        times = float(f"{_USUAL / usual:.1g}")
        return [Diagnosis(
            self.name, 0.6 if long else 0.4, "The warm-up takes far too long" if long else "The rate still rises, and little is learnt yet",
            f"The learning rate still rises ({rate[-1]:.2g} after {now:,} steps), and each step changes the weights by {usual:.1g} of their size "
            f"({_USUAL:g} is usual). Where it rises as evenly on, that takes some {times:,.0f} times as many steps.",
            f"median update / weights at the last three readings: {usual:.2g}; learning rate {rate[0]:.2g} → {rate[-1]:.2g}", (), None,
            int(steps[0]), "Sure that the weights hardly move until now." if not long else "Sure that the weights stand still until now.",
            "Look over how many steps the schedule warms up, and whether it counts batches or epochs.", "curves",
        )]

    def _fallen(self, run: RunReader, count: int, known: Judgement) -> list[Diagnosis]:
        """A schedule has brought the rate down before anything was learnt."""
        steps, rate = series(run, "learning_rate")
        if known.learnt is not False or len(rate) < self.steps or not rate.max() > 0:
            return []
        low = rate < _FALLEN * rate.max()
        if not low[-1] or np.mean(low) < 0.5 or not low[-int(low.sum()) :].all():
            return []
        first = int(steps[-int(low.sum())])
        return [Diagnosis(
            self.name, 0.7, "The learning rate fell too early",
            f"Since step {first} the rate has been below {_FALLEN:.0%} of its highest ({rate.max():.3g}; now {rate[-1]:.3g}), for "
            f"{np.mean(low):.0%} of all steps, and little is learnt: {known.told}.",
            f"learning rate {rate[0]:.3g} → {rate[-1]:.3g} in {count} steps", (), None, first, "Likely.",
            "Look whether the scheduler steps once a batch where once an epoch is meant.", "curves",
        )]

    def _highest(self, run: RunReader, at: np.ndarray) -> np.ndarray | None:
        """Which readings were taken near the highest rate; None while the rate still rises."""
        steps, rate = series(run, "learning_rate")
        if not len(steps):
            return np.ones(len(at), bool)
        past = rate[: -max(1, len(rate) // 4)]
        if len(past) and rate[-1] > 1.01 * past.max():
            return None
        found = np.interp(at, steps, rate)
        return np.asarray(found >= 0.5 * rate.max())


def _medians(values: np.ndarray) -> np.ndarray:
    """The median of each row without its NaN: NumPy takes many times as long to leave some out, also where there are none."""
    found: np.ndarray = np.nanmedian(values, 1) if np.isnan(values).any() else np.median(values, 1)
    return found


def _ends_of(loss: np.ndarray) -> tuple[float, float]:
    """The loss in the beginning and now."""
    width = max(5, len(loss) // 10)
    return float(np.median(loss[:width])), float(np.median(loss[-width:]))


def _stands(loss: np.ndarray) -> bool:
    """Whether a loss has hardly fallen."""
    first, now = _ends_of(loss)
    return now >= first - _PART * abs(first)


class _Clip(NamedTuple):
    """To what all gradients are cut."""

    norm: float
    """How long all of them together are."""
    told: str
    seen: str
    readings: int


def _clipped(run: RunReader) -> _Clip | None:
    """The norm of all gradients together where it is the same at every reading, or else the largest slope where that is, in most weights: they
    are cut to it."""
    read = [(steps, values) for _, steps, values in series_between(run, "gradients/", "/norm")]
    if not read:
        return None
    steps, values = (np.concatenate(parts) for parts in zip(*read, strict=True))
    with np.errstate(over="ignore"):
        norms = np.sqrt(np.bincount(np.unique(steps, return_inverse=True)[1], values * values))
    if len(norms) < _READINGS or not norms.max() > 0:
        return None
    usual = float(np.median(norms))
    # Of a few readings more digits have to be the same.
    if np.ptp(norms) <= (2e-3 if len(norms) >= _SOME else 5e-4) * norms.max():
        return _Clip(usual, f"the gradients together had the norm {usual:.3g}", f"norm of all gradients {usual:.4g}", len(norms))
    names = [name for name in getattr(run, "histogram_names", ()) if name.startswith("gradients/")]
    weights, lengths = len(read), list[float]()
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        if 2 * (len(lengths) + left) <= weights:
            return None  # too many differ already: to read how the rest are distributed costs more than all else that is asked here
        each = _ends(run, name)
        if len(each) == len(norms) and each.min() > 0 and np.ptp(each) <= 1e-6 * each.max():
            lengths.append(float(each[0]))
    end = max(set(lengths), key=lengths.count, default=0.0)
    if lengths.count(end) < 2 or 2 * lengths.count(end) <= weights:
        return None
    return _Clip(usual, f"the largest slope was {end:.3g} in {lengths.count(end)} of the weights", f"largest slope of a weight {end:.4g}", len(norms))


def _ends(run: RunReader, name: str) -> np.ndarray:
    """The size of the largest number of a tensor at each reading."""
    block = run.statistics(name) if isinstance(run, Past) else run.histograms(name).statistics
    return np.abs(block[:, :2]).max(1) if len(block) else np.zeros(0)
