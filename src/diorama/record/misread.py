"""Classes of the probe set that stay misread while the others are learnt, judged by steps and not by how many looks there were."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .packing import Floats, Steps
    from .reader import RunReader

LOOKS, EXAMPLES = 3, 8
"""Looks at the probe set at least, and examples of a class."""
_FALLS = 0.1
"""A loss that falls by more than this share of it over half of the time is falling."""
_BOUND = 1.64
"""Standard errors: one chance in twenty that a share is lower."""
_NEAR = 0.9
"""A loss of this share of what one answer for all would have is no better than that."""


class Misread(NamedTuple):
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
    lasts: bool
    """Whether the stretch is as long, in steps, as the others took to be learnt: the class has had as much time again."""
    blind: bool
    """Whether the class's loss is no better in all of the stretch than that of one answer for all."""
    falls: bool
    """Whether its loss still falls: it is being learnt."""

    @property
    def most(self) -> int:
        """The answer that most of the class have at the last look."""
        return int(self.shares[-1].argmax())


def misread(run: RunReader, least: float, learnt: float = 0.7) -> list[Misread]:
    """The classes of which at least this share has been answered wrongly since so many of the others are right, worst first.

    *Meaning* when looks happen depends on the time that there is for them: three in a row may be thirty steps or three thousand. So a stretch counts
    by its steps, beside those that the others took; and an example more or less is chance, which the number of examples tells.
    """
    probe = run.meta.get("probe") or {}
    truth, floor = np.asarray(probe.get("labels") or (), np.int64), probe.get("floor")
    if not len(truth) or run.meta.get("doubt") or not {"examples/answer", "examples/loss"} <= set(run.row_names):
        return []
    steps, answers = run.rows("examples/answer")
    at, losses = run.rows("examples/loss")
    if len(steps) < LOOKS + 1 or not np.array_equal(steps, at) or len(truth) != answers.shape[1]:
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
        # As many steps as the others took to be learnt the class has had too.
        took = int(steps[np.flatnonzero(rest >= learnt)[0]] - steps[0])
        shares = np.stack([np.bincount(row, minlength=classes) for row in said[here][:, mine]]) / mine.sum()
        loss = losses[here][:, mine].astype(np.float64).mean(1)
        found.append(Misread(
            one, int(mine.sum()), steps[here], shares, rest[here], loss, bool(steps[-1] - steps[first] >= took),
            bool(floor and np.isfinite(loss).all() and loss.min() >= _NEAR * floor), _falling(steps[here], loss),
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
