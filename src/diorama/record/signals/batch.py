"""The signal `batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..pace import FIRST
from . import Signal

ABSENT = 12.0
"""A class that was due so often by the probe set, and came never, is not there: by chance it would once in hundreds of millions …"""
_ABSENT = 32
"""… and so many such classes are named at most."""

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..step import Step
    from . import Values


class BatchSignal(Signal):
    """What a batch of the training asked, what the model answered and how often it was right.

    *Meaning* labels are read from the gradient at the scores, where the loss is a cross-entropy. ``batch/order`` is the
    chance that a right answer is surer than a wrong one: near one half, being wrong has nothing to do with doubt.
    ``batch/between`` and ``batch/within`` are how far the scores lie apart between classes and between examples.
    ``batch/left`` is 1 where the gradients of the step before were still there, ``batch/kept`` the same while no optimizer has
    stepped, ``batch/eval`` where the network was in evaluation mode,
    ``batch/form`` where the scores are softmaxed once too often (1), without their logarithm (2), over the examples (3) or by the loop (4),
    ``batch/alike`` where the loss pulls at each answer by what it is alone; ``batch/copied`` is the share of labels that are the
    token read at their own place (``batch/copied_input``: of which input), ``batch/shifted`` of those that are the token behind it,
    ``batch/cut`` the share of answers that are the very same number, and ``batch/most`` the share of
    the most frequent label so far.
    Of a network that judges what another one makes ``batch/fooled`` is how likely it holds that for real, in the mean, ``batch/apart`` the share
    of its own examples that it answers rightly, and ``batch/judge`` 1; ``batch/steep`` is how much faster than its input the score of a
    Wasserstein critic changes, at least.
    ``batch/turned`` is 1 where a judge pulls at what is made the same way as its maker does. ``batch/code`` is the share of a variational
    autoencoder's code that differs from input to input; ``batch/carried`` 1 where a recurrent layer begins where it ended at the batch before,
    ``batch/strange`` the share of rows that came again behind another one. ``batch/column`` is how much further classes lie apart in
    one column of a small table than one of them is wide, ``batch/parted`` the share of examples that one column alone tells by one cut a class.
    ``batch/twins`` is the share of rows that are rows of the probe set, ``batch/met`` the share of the probe set's that were met so far;
    ``batch/again`` the share of a batch's rows that stood in the batch read before and in the one behind that, and ``batch/again_rows`` how many
    rows it has;
    ``batch/unasked`` is the share of answers at which the loss does not pull at all though they are not sure, ``batch/mirrored`` how likely a
    segmentation answers at the mirror image of a mask, beside the mask (``batch/mirror_way`` 0: left and right exchanged, 1: top and bottom);
    ``batch/wanted`` and ``batch/wanted_std`` are mean and deviation of a regression's true values;
    ``batch/tokens`` how far the shares of tokens lie from those in the probe set.
    ``batch/weight`` is what the loss of all examples of a pass weighs in the step: 1 of a mean, their number of a sum. ``batch/absent/<class>``
    is how often a class of the probe set was due that was never among the labels.
    ``batch/input`` is which of several inputs lies furthest from what networks learn from, ``batch/input/low``, ``…/high`` and ``…/std`` where.
    ``batch/rows`` and ``batch/columns`` are how much neighbouring ones of pictures differ beside any two.
    ``batch/place`` is how far one place of the input alone keeps a class from the others, in standard deviations.
    *Error* of one batch; of very many scores every n-th row is read.
    """

    needs = frozenset({"batch"})

    def period(self, every: int) -> int:
        """As the recorder reads, but at least some steps apart: these are many numbers."""
        return self.every or (every * -(-FIRST // every) if every else 0)

    def __call__(self, step: Step) -> Values:
        """``batch/…``: what could be known of the batch."""
        seen = step.batch
        if seen is None:
            return {}
        found: dict[str, float] = {"batch/passes": float(seen.passes)}
        found |= {f"batch/{name}": value for name, value in seen.habits.items()}
        if seen.inputs is not None:
            found |= dict(zip(("batch/low", "batch/high", "batch/mean", "batch/std"), seen.inputs, strict=True))
        if np.isfinite(seen.between):
            found["batch/between"] = seen.between
        if np.isfinite(seen.within):
            found["batch/within"] = seen.within
        if seen.labels is None or seen.answers is None or seen.sure is None or not (known := seen.labels >= 0).any():
            return found
        labels, answers, sure = seen.labels[known], seen.answers[known], seen.sure[known]
        right = answers == labels
        found |= {
            "batch/count": float(len(labels)), "batch/accuracy": float(right.mean()),
            "batch/answers": _most(answers), "batch/labels": _most(labels),
        }
        if right.any() and not right.all():
            found |= {"batch/order": _order(sure[right], sure[~right]), "batch/wrong_sure": float(sure[~right].mean()),
                      "batch/right_sure": float(sure[right].mean())}
        if seen.confused is not None:
            found |= dict(zip(("batch/confused", "batch/confused/from", "batch/confused/as"), map(float, seen.confused),
                              strict=True))
        if seen.place is not None:
            found |= dict(zip(("batch/place", "batch/place/at", "batch/place/class"), map(float, seen.place), strict=True))
        if seen.balance is not None:
            found["batch/most"] = float(seen.balance.max())
        if seen.balance is not None and step.probe_balance is not None and len(seen.balance) == len(step.probe_balance):
            found["batch/balance"] = float(np.abs(seen.balance - step.probe_balance).sum() / 2)
        if seen.balance is not None and step.probe_balance is not None and len(seen.balance) >= len(step.probe_balance):
            found |= _absent(seen.balance, np.asarray(step.probe_balance), seen.seen)
        return found


def _absent(balance: NDArray[np.float64], probe: NDArray[np.float64], seen: int) -> dict[str, float]:
    """By class of the probe set that no label named: how often it was due; the most frequent ones."""
    due = np.where(balance[: len(probe)] == 0, probe * seen, 0.0)
    return {f"batch/absent/{one}": float(due[one]) for one in np.argsort(-due, kind="stable")[:_ABSENT].tolist() if due[one] >= ABSENT}


def _most(values: NDArray[np.int64]) -> float:
    """The share of the most frequent one."""
    return float(np.bincount(values).max() / len(values))


def _order(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float:
    """The share of pairs in which the right answer is the surer one; a tie counts half."""
    ranks = np.sort(wrong)
    below, above = np.searchsorted(ranks, right, "left"), np.searchsorted(ranks, right, "right")
    return float((below + above).sum() / 2 / (len(right) * len(wrong)))
