"""Classes of the probe set that stay misread while the others are learnt, judged by steps and not by how many looks there were."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .reader import RunReader
    from .store_bytes import Floats, Steps

LOOKS, EXAMPLES = 3, 8
"""Looks at the probe set at least, and examples of a class."""
_FALLS = 0.1
"""A loss that falls by more than this share of it over half of the time is falling."""
_BOUND = 1.64
"""Standard errors: one chance in twenty that a share is lower."""
_NEAR = 0.9
"""A loss of this share of what one answer for all would have is no better than that."""

_PIXELS, _PICTURES, _BEGUN = 50, 64, 50
"""Pixels of a class at least; pictures where nobody says how many there are; steps that a training takes at least until it has begun."""


class MisreadClass(NamedTuple):
    """How the examples of one class were answered since the others are learnt."""

    label: int
    examples: int
    """How many examples of the class there are."""
    steps: Steps
    """The looks of the stretch that ends at the last one, in which the class was misread and the others were right."""
    shares: Floats
    """How large a part of the class had each answer, a row a look."""
    rest: Floats
    """How large a part of the others was right."""
    loss: Floats
    """The mean loss of the class."""
    took: int
    """How many steps the others took to be learnt."""
    nothing: float
    """The loss that one answer for all would have for the class; infinite where that is not known."""
    falls: bool
    """Whether its loss still falls: it is being learnt."""
    of: str = "examples"
    """What is counted: examples, or pixels."""

    @property
    def lasts(self) -> bool:
        """Whether the stretch is as long, in steps, as the others took to be learnt: the class has had as much time again."""
        return bool(self.steps[-1] - self.steps[0] >= self.took)

    @property
    def blind(self) -> bool:
        """Whether the class's loss is no better in all of the stretch than that of one answer for all."""
        return bool(np.isfinite(self.loss).all() and self.loss.min() >= _NEAR * self.nothing)

    @property
    def late(self) -> MisreadClass:
        """The second half of the stretch by its steps, of as many looks as tell something: what comes slowly is judged by what it came to."""
        first = int(np.searchsorted(self.steps, (self.steps[0] + self.steps[-1]) / 2))
        here = slice(min(first, len(self.steps) - LOOKS), None)
        return self._replace(steps=self.steps[here], shares=self.shares[here], rest=self.rest[here], loss=self.loss[here])

    def taken_for(self, other: int, least: float) -> MisreadClass | None:
        """The end of the stretch in which at least this share was taken for one other class; None where it is short. Before it the class may have
        been taken for another, as all are before anything is learnt."""
        less = np.flatnonzero(self.shares[:, other] < least)
        first = int(less[-1]) + 1 if len(less) else 0
        if len(self.steps) - first < LOOKS:
            return None
        took = max(self.took, int(self.steps[first])) if self.of == "pixels" else self.took
        here = slice(first, None)
        return self._replace(steps=self.steps[here], shares=self.shares[here], rest=self.rest[here], loss=self.loss[here], took=took)

    @property
    def counted(self) -> str:
        """How many examples, or pictures of such pixels, tell it."""
        return f"{self.examples} {'pictures' if self.of == 'pixels' else 'examples'}"

    def said(self, names: Sequence[str], label: int | None = None) -> str:
        """What the class, or another one, is called: a number alone is no name of a pixel's class."""
        label = self.label if label is None else label
        return str(names[label]) if label < len(names) else f"class {label}" if self.of == "pixels" else str(label)

    @property
    def most(self) -> int:
        """The answer that most of the class have at the last look."""
        return int(self.shares[-1].argmax())


def misread(run: RunReader, least: float, learnt: float = 0.7) -> list[MisreadClass]:
    """The classes of which at least this share has been answered wrongly since so many of the others are right, worst first.

    *Meaning* when looks happen depends on the time that there is for them: three in a row may be thirty steps or three thousand. So a stretch counts
    by its steps, beside those that the others took; and an example more or less is chance, which the number of examples tells.
    """
    if {"classes/confusion", "classes/loss"} <= set(run.row_names):
        return _misread_pixels(run, least, learnt)
    probe = run.meta.get("probe") or {}
    truth, floor = np.asarray(probe.get("labels") or (), np.int64), probe.get("floor")
    if not len(truth) or run.meta.get("doubt") or not {"examples/answer", "examples/loss"} <= set(run.row_names):
        return []
    steps, answers = run.rows("examples/answer")
    at, losses = run.rows("examples/loss")
    if len(steps) < LOOKS + 1 or not np.array_equal(steps, at) or len(truth) != answers.shape[1]:
        return []
    # What answers NaN answers no class; and one class for all is the whole network's fault, not that of two which look alike.
    there = np.isfinite(answers).all(1) & (answers[:, truth >= 0] >= 0).all(1)
    steps, answers, losses = steps[there], answers[there], losses[there]
    if len(steps) < LOOKS + 1 or not np.ptp(answers[-LOOKS:][:, truth >= 0]):
        return []
    found = []
    said = answers.astype(np.int64).clip(0)
    classes = max(int(said.max()), int(truth.max())) + 1
    for one in np.unique(truth[truth >= 0]).tolist():
        mine, others = truth == one, (truth >= 0) & (truth != one)
        if mine.sum() < EXAMPLES or not others.any():
            continue
        rest = (said[:, others] == truth[others]).mean(1)
        bad = ((said[:, mine] != one).mean(1) >= least) & (rest >= learnt)
        first = int(np.flatnonzero(~bad)[-1]) + 1 if not bad.all() else 0
        if len(steps) - first < LOOKS:
            continue
        here = slice(first, None)
        # As many steps as the others took to be learnt the class has had too; where these were right from the first look, a training's beginning.
        took = max(int(steps[np.flatnonzero(rest >= learnt)[0]] - steps[0]), _BEGUN)
        shares = np.stack([np.bincount(row, minlength=classes) for row in said[here][:, mine]]) / mine.sum()
        loss = losses[here][:, mine].astype(np.float64).mean(1)
        found.append(MisreadClass(
            one, int(mine.sum()), steps[here], shares, rest[here], loss, took,
            float(floor or np.inf), _falling(steps[here], loss),
        ))
    return sorted(found, key=lambda each: float(each.shares[-1, each.label]))


def _misread_pixels(run: RunReader, least: float, learnt: float) -> list[MisreadClass]:
    """The same of the pixels of a class.

    The class that is most frequent is answered everywhere before anything is learnt: that others are learnt is told by another one than that, unless
    pixels are taken for a rarer one. Nobody tells two classes alone so.
    """
    (steps, counts), (at, losses) = run.rows("classes/confusion"), run.rows("classes/loss")
    classes = losses.shape[1]
    if len(steps) < LOOKS + 1 or not np.array_equal(steps, at) or run.meta.get("doubt"):
        return []
    confusion = counts.reshape(len(steps), classes, classes).astype(np.float64)
    pixels = confusion[-1].sum(1)
    shares = confusion / np.maximum(confusion.sum(2, keepdims=True), 1.0)
    right, most = np.diagonal(shares, axis1=1, axis2=2), int(pixels.argmax())
    found = []
    for one in np.flatnonzero(pixels >= _PIXELS).tolist():
        taken = int(shares[-1, one].argmax())
        others = [k for k in range(classes) if k not in (one, taken) and pixels[k] >= _PIXELS]
        if one == most or not others or taken == most and set(others) <= {most}:
            continue
        rest = right[:, others].mean(1)
        bad = (1 - right[:, one] >= least) & (rest >= learnt)
        first = int(np.flatnonzero(~bad)[-1]) + 1 if not bad.all() else 0
        if len(steps) - first < LOOKS:
            continue
        here, loss = slice(first, None), losses[first:, one].astype(np.float64)
        # Pixels of one picture stand for each other: there are as many examples as pictures, about.
        examples = min(int(pixels[one]), int(run.meta.get("examples") or _PICTURES))
        found.append(MisreadClass(
            one, examples, steps[here], shares[here, one], rest[here], loss,
            max(int(steps[first] - steps[0]), _BEGUN),
            float(-np.log(pixels[one] / pixels.sum())), _falling(steps[here], loss), "pixels",
        ))
    return sorted(found, key=lambda each: float(each.shares[-1, each.label]))


def surely(share: float | NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The least that a share of so many examples stands for (Wilson's bound).

    *Source* Wilson, Probable inference, 1927.
    """
    z = _BOUND**2 / count
    share = np.asarray(share, np.float64)
    return np.asarray((share + z / 2 - np.sqrt(z * share * (1 - share) + z * z / 4)) / (1 + z))


def _falling(steps: Steps, loss: Floats) -> bool:
    """Whether a loss has fallen over the second half of its steps, whichever of them were looked at."""
    if not np.isfinite(loss).all():
        return False
    middle = float(np.interp((steps[0] + steps[-1]) / 2, steps, loss))
    return float(loss[-1]) < (1 - _FALLS) * middle
