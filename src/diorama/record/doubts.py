"""Whether a task that was guessed goes with the loss that the training follows: the gradient at the scores tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..model.outputs import CLASSES, Reading

READINGS = 3
"""So many readings must speak against a guess, and none for it."""
_LOPSIDED = 0.05
"""Slopes of a loss over classes add up to nothing, whatever it is made of: a softmax does not see what is added to all scores. More than this
share of their size is no rounding."""
_ROUNDED = 1e-2
"""What is wanted of a class is one or nothing, and by no more than this beside them."""
_ALONG = 0.2
"""Slopes of a reconstruction point from the inputs to the outputs: their cosine is above this."""
_UNSTEADY = 3.0
"""A mean squared error is a constant times the squares of its slopes; a loss whose ratio to them varies by more is another one."""

_SAID = {
    "reconstruction": "the slopes at the outputs do not lead to the inputs",
    "regression": "the loss that the loop tells is no squared error of the outputs",
}
_OTHER = (
    "the loss of the training is one of squares or sigmoids on one-hot rows, and the probe set's a cross-entropy: these are two measures, and no "
    "alarm stands on the one beside the other; pass criterion= to diorama.watch to have the probe set's loss in the training's measure"
)


class Doubts:
    """Looks at the first batches that are read, and tells at most once that the guess does not go with what is trained.

    *Cost* a sum or two of numbers that the batch's reader holds already.
    """

    def __init__(self, reading: Reading | None, told: bool, tell: Callable[[str], object]) -> None:
        self._task = "" if reading is None or told or reading.criterion is not None else reading.task
        self._tell, self._against = tell, 0
        self._ratios: list[tuple[int, float]] = []

    def look(self, slopes: Slopes | None, scalars: Mapping[str, float | Tensor], passes: int, scale: float) -> None:
        """One batch more: what its slopes say, the numbers that the loop told, and by how much the loss was scaled."""
        if not self._task or slopes is None:
            return
        fits = slopes.fits
        if self._task == "regression":
            fits = self._steady(slopes, scalars.get("loss"), scale) if passes == 1 else None
        if fits:
            self._task = ""  # seen to be right
        elif fits is False:
            self._against += 1
            if self._against >= READINGS:
                if slopes.kin:
                    self._tell(_OTHER)
                    self._task = ""
                    return
                why = _SAID.get(self._task, "the slopes at the scores are not those of a loss over classes")
                self._tell(
                    f"the task was guessed ({self._task.replace('_', ' ')}), but {why}: what is told of answers and of the probe set's loss may "
                    "mean nothing, and no alarm stands on it; pass task= or criterion= to diorama.watch"
                )
                self._task = ""

    def _steady(self, slopes: Slopes, loss: Any, scale: float) -> bool | None:
        value = float(loss) if loss is not None else math.nan
        if not math.isfinite(value) or not slopes.squares > 0:
            return None
        self._ratios.append((slopes.count, value * scale * scale / slopes.squares))
        same = [ratio for count, ratio in self._ratios if count == slopes.count]
        if len(same) < READINGS:
            return None
        low, high = min(same), max(same)
        return False if low <= 0 or high > _UNSTEADY * low else True if len(same) > 3 * READINGS else None


class Slopes:
    """What the gradient at a batch's scores says of a reading: whether it ``fits`` it (None where it cannot tell), the sum of its squares."""

    def __init__(self, reading: Reading | None, values: NDArray[np.float64], slopes: NDArray[np.float64], x: Tensor | None) -> None:
        self.count, self.squares, self.fits = values.size, float(np.square(slopes).sum()), None
        self.kin = False
        """Whether they are those of squares or sigmoids on one-hot rows: the task is right, and the loss another measure than the probe set's."""
        sizes = np.abs(slopes).sum(1)
        if reading is None or not math.isfinite(self.squares) or not self.squares:
            return
        if reading.task in CLASSES and values.shape[1] > 1 and reading.form == "scores":
            own = slopes[sizes > 1e-3 * sizes.max()]
            self.fits = bool(np.median(np.abs(own.sum(1)) / np.abs(own).sum(1)) <= _LOPSIDED)
            self.kin = not self.fits and _one_of_each(values, slopes)
        elif reading.task == "reconstruction" and x is not None and x.numel() == values.size:
            way = values.reshape(-1) - x.detach().to("cpu", torch.float64).reshape(-1).numpy()
            size = float(np.linalg.norm(way)) * math.sqrt(self.squares)
            self.fits = bool(way @ slopes.reshape(-1) > _ALONG * size) if size > 0 else None


def _one_of_each(values: NDArray[np.float64], slopes: NDArray[np.float64]) -> bool:
    """Whether the slopes are those of a loss that wants one at one class of each row and nothing at the others: squares, or sigmoids.

    The slope is c·(answer − wanted) with the same c everywhere. What is wanted of a row adds up to one, which tells c; and c tells what
    is wanted.
    """
    sums = slopes.sum(1)
    if not sums.all():
        return False
    for answers in (values, 1 / (1 + np.exp(-values))):
        factor = float(np.median((answers.sum(1) - 1) / sums))
        wanted = answers - factor * slopes
        one = np.zeros(wanted.shape)
        one[np.arange(len(one)), wanted.argmax(1)] = 1.0
        if factor > 0 and np.abs(wanted - one).max() <= _ROUNDED:
            return True
    return False
