"""Between which ends a layer's recorded numbers lie in a healthy training: the one place for all who judge them.

The ends hold for readings of a training that goes on, a few readings in a row. What is *beside* something is a multiple of
it: a gradient is small only beside that of other layers, a weight large only beside what it began as.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .store_bytes import Floats

LAST_BATCH = 0.9
"""From this momentum on the running statistics of a batch norm are little else than those of the last batch: they are compared with the next one."""

READINGS = 3
"""So many readings in a row make a fault; one alone may be chance."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The healthy ends of one number: below ``low`` and above ``high`` something is wrong.

    *Meaning* with ``beside`` the ends are multiples of that: the other layers' number at the same step, or the layer's own at
    its first reading. An end that no source gives is open.
    """

    low: float = -np.inf
    high: float = np.inf
    beside: str = ""
    below: str = ""
    """What it means to lie below, as the end of "its update ratio is …"."""
    above: str = ""
    source: str = ""

    def ends(self, beside: Floats | float = 1.0) -> tuple[Floats, Floats]:
        """The ends where what they stand beside is so large; open where that is not known, or is nothing."""
        reference = np.asarray(beside, np.float64)
        known = np.isfinite(reference) & (reference > 0)
        with np.errstate(invalid="ignore"):
            low = np.where(known, self.low * reference, -np.inf)
            high = np.where(known, self.high * reference, np.inf)
        return low, high


def middle(values: Floats, axis: int) -> Floats:
    """The median of the finite numbers along an axis; NaN where there is none.

    *Cost* one sort: a tenth of NumPy's own for the few numbers that a record has of a step.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    count = np.isfinite(values).sum(axis, keepdims=True)
    ordered = np.sort(values, axis=axis)  # what is not finite comes last
    low, high = (np.take_along_axis(ordered, np.maximum(0, at), axis) for at in ((count - 1) // 2, count // 2 - (count == 0)))
    found: Floats = np.squeeze((low + high) / 2, axis)
    return found


UPDATE_RATIO = Range(
    high=0.1, above="each step throws the weights about by more than a tenth of their size",
    source="Karpathy, CS231n notes (2015): a ratio of update to weights of some 0.001 is usual; above 0.1 ten steps undo all",
)
"""The norm of a step's change of a weight, as a share of the weight's norm."""
NOTHING = 1e-6
"""At this ratio of update to weights ten thousand steps change them by a hundredth: nothing is learnt, whatever the loss does."""
UPDATE_RATIO_BESIDE = Range(
    low=1e-3, beside="the median layer's", below="it hardly moves while the other layers do",
    source="chosen wide: a weight that moves 1,000 times less than the median one takes 1,000 times as many steps",
)
"""The same beside the other layers: as a rate falls to zero all updates do, which is no fault of a layer."""
GRADIENT = Range(
    low=1e-4, beside="the largest layer's", below="the gradient is lost on its way to it",
    source="Glorot & Bengio 2010: in a trainable network gradients of all layers are of one order",
)
"""The root mean square of a weight's gradient, an element, beside the largest layer's at the same step."""
ACTIVATION_SPREAD = Range(
    low=1e-4, high=1e4, beside="the median layer's", below="its answers have died away", above="its answers have blown up",
    source="He et al. 2015, section 2.2: the spread of answers should neither shrink nor grow with depth",
)
"""The standard deviation of a layer's activations beside the median layer's at the same step."""
ACTIVATION_MEAN = Range(
    low=-30.0, high=30.0, beside="its spread", below="it answers nearly the same to everything",
    above="it answers nearly the same to everything",
    source="LeCun et al. 1998, Efficient BackProp, 4.3: answers far from zero beside their spread slow learning; 30 is chosen "
    "wide, as a regression's answers may lie far from zero",
)
"""The mean of a layer's activations beside their own spread."""
DEAD = Range(
    high=0.9, above="almost the whole layer is silent",
    source="Lu et al. 2020, Dying ReLU: a layer without any live unit cannot learn again",
)
"""The share of a layer's rectified units that answer nothing to a whole batch."""
DEAD_TOLD, DEAD_GROWTH = 0.1, 0.05
"""A share from this on is a fault where it has grown by so much since the first reading."""
SATURATED = Range(
    high=0.5, above="most of its answers lie at the ends of their range, where the slope is nothing",
    source="Glorot & Bengio 2010, section 3: layers of which most answers lie at an end stop learning",
)
"""The share of a bounded function's activations that lie at the ends of its range."""
WEIGHT_NORM = Range(
    low=0.05, high=20.0, beside="its first reading", below="its weights have shrunk to almost nothing",
    above="its weights have grown many times over",
    source="chosen wide: weight decay and growth during a healthy training stay well within",
)
"""The norm of a weight beside that of its first reading."""
MOVED = Range(
    low=0.1, below="almost none of its weights change at all: their updates are zero, or lost in rounding",
    source="Gupta et al. 2015, Limited numerical precision: updates below the last digit are lost; 0.1 is chosen wide, as dead "
    "units' weights do not move either",
)
"""The share of a weight's elements that a step changes at all; of a lookup table most rows are not looked up."""


def dead_ends(shares: Floats) -> tuple[Floats, Floats]:
    """The ends of a share of dead units: what it was at first with some room, never above that of a dead layer.

    *Meaning* units that were silent from the first reading on cost little; those that die during the training are lost.
    """
    first = float(shares[0]) if len(shares) and np.isfinite(shares[0]) else 0.0
    high = min(DEAD.high, max(DEAD_TOLD, first + DEAD_GROWTH))
    return np.full(len(shares), -np.inf), np.full(len(shares), high)
