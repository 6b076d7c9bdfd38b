"""Which single place of the input tells a class by itself: means and spreads, by class, over the batches that were read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_PLACES = (64, 2**15)
"""Inputs of fewer places are tables, in which one column may well decide; larger ones are not counted …"""
_MOST = 2**20
"""… nor are more sums than this."""
_REMEMBERED = 2**14
"""Examples that are known again."""
_EXAMPLES, _OTHERS = 12, 40
"""Examples of a class, and of all others, from which on something is said."""
_DOUBT = 2.0
"""So many standard errors a spread is taken to be larger than it was seen."""


class Places:
    """Sums of each place's values and squares, by class."""

    def __init__(self) -> None:
        self._sums: NDArray[np.float64] | None = None
        self._seen: set[float] = set()
        self._squares = self._counts = np.zeros(0)

    def told(self, x: Tensor, labels: NDArray[np.int64], classes: int) -> tuple[float, int, int] | None:
        """The place that tells a class best: how well, the place, the class; None where nothing can be said.

        *Meaning* how far the class's mean lies from the mean of all others, at least, in their two standard deviations together: at 3
        a threshold in the middle is right for all but one in a thousand of a normal distribution.
        """
        flat = x.reshape(len(x), -1)
        places = flat.shape[1]
        if not _PLACES[0] <= places <= _PLACES[1] or places * classes > _MOST:
            return None
        known = labels >= 0
        rows, truth = flat.double().cpu().numpy()[known], labels[known]
        signs = rows.sum(1).tolist()
        new = np.array([sign not in self._seen for sign in signs], bool)
        if len(self._seen) < _REMEMBERED:
            self._seen.update(signs)
        rows, truth = rows[new], truth[new]  # an example that comes again is no further witness
        if self._sums is None or self._sums.shape != (classes, places):
            self._sums, self._squares = np.zeros((classes, places)), np.zeros((classes, places))
            self._counts = np.zeros(classes)
        for one in np.unique(truth):
            mine = rows[truth == one]
            self._sums[one] += mine.sum(0)
            self._squares[one] += np.square(mine).sum(0)
            self._counts[one] += len(mine)
        return self._best()

    def _best(self) -> tuple[float, int, int] | None:
        assert self._sums is not None
        total, best = self._counts.sum(), None
        sums, squares = self._sums.sum(0), self._squares.sum(0)
        for one in np.flatnonzero((self._counts >= _EXAMPLES) & (total - self._counts >= _OTHERS)):
            here, there = self._counts[one], total - self._counts[one]
            mean, other = self._sums[one] / here, (sums - self._sums[one]) / there
            spread = np.sqrt(np.maximum(self._squares[one] / here - mean**2, 0.0))
            spread += np.sqrt(np.maximum((squares - self._squares[one]) / there - other**2, 0.0))
            # Of few examples the best of many places lies apart by chance: a spread is known to one part in the root of twice as many.
            spread *= 1 + _DOUBT / np.sqrt(2 * here)
            apart = np.abs(mean - other)
            floor = 1e-3 * np.maximum(np.abs(mean), np.abs(other))
            ratio = np.where(apart > floor, apart / np.maximum(spread, 0.01 * apart + 1e-12), 0.0)
            place = int(ratio.argmax())
            if best is None or ratio[place] > best[0]:
                best = (float(ratio[place]), place, int(one))
        return best
