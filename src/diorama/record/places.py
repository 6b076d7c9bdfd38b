"""Which single place of the input tells a class by itself: means and spreads, by class, over the batches that were read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_PLACES = (64, 2**15)
"""Inputs of fewer places are tables, in which one column may well decide (see `Columns`); larger ones are not counted …"""
_MOST = 2**20
"""… nor are more sums than this."""
_REMEMBERED = 2**14
"""Examples that are known again."""
_EXAMPLES, _OTHERS = 12, 40
"""Examples of a class, and of all others, from which on something is said."""
_LEVELS = 3
"""Classes from which on one number for each of them is another thing than a mark that one class carries."""
_CUT = 512
"""Rows of a small table that are kept."""
_CLASSES = 256
"""Classes up to which columns are searched."""
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

    def levels(self) -> dict[str, float]:
        """The place that has, as good as, one number for each class, as :class:`Columns` tells it of a small table: ``column``, ``column_at``
        and ``column_class``, which is −1; nothing where no more than two classes, or too few examples, were met.

        *Meaning* how much further neighbouring classes lie apart there, at least, than the spread of the widest (four deviations).
        """
        if self._sums is None or len(met := np.flatnonzero(self._counts)) < _LEVELS or self._counts[met].min() < _EXAMPLES / 2:
            return {}
        counts = self._counts[met, None]
        means = self._sums[met] / counts
        spread = 4 * np.sqrt(np.maximum(self._squares[met] / counts - means**2, 0.0)).max(0)
        # Most places are far from it, and need not be sorted.
        near = np.flatnonzero(np.ptp(means, axis=0) > (len(met) - 1) * spread)
        if not len(near):
            return {"column": 0.0, "column_at": 0.0, "column_class": -1.0}
        means, spread = means[:, near], spread[near]
        gap = np.diff(np.sort(means, 0), axis=0).min(0)
        # What is summed in squares is known to half the digits, and a number that all share is none.
        told = np.where(gap > 1e-5 * np.abs(means).max(0), gap / np.maximum(spread, np.maximum(gap / 100, 1e-300)), 0.0)
        at = int(told.argmax())
        return {"column": float(told[at]), "column_at": float(near[at]), "column_class": -1.0}

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


class Columns:
    """Between which numbers each column of a small table lies, by class.

    *Meaning* that a column tells classes well is what tables are for; one that has (nearly) one number for each class, as no measurement has,
    is the label itself, or was made from it.
    """

    def __init__(self) -> None:
        self._low: NDArray[np.float64] | None = None
        self._high = np.zeros(0)
        self._counts = np.zeros(0)
        self._seen: set[bytes] = set()
        self._cuts = Cuts()

    def told(self, x: Tensor, labels: NDArray[np.int64], classes: int) -> dict[str, float]:
        """``column``: how much further the classes lie apart in the column that tells most than one of them is wide, a hundred at most;
        ``column_at``: which one it is; ``column_class``: the one class that it tells from all others, −1 where it tells them all;
        and what :class:`Cuts` tell."""
        flat = x.reshape(len(x), -1)
        places = flat.shape[1]
        if not 1 < places < _PLACES[0] or not 1 < classes <= _CLASSES:
            return {}
        known = labels >= 0
        rows, truth = flat.double().cpu().numpy()[known], labels[known]
        if self._low is None or self._low.shape != (classes, places):
            self._low, self._high = np.full((classes, places), np.inf), np.full((classes, places), -np.inf)
            self._counts = np.zeros(classes)
            self._seen, self._cuts = set(), Cuts()
        for row, one in zip(rows, truth, strict=True) if len(self._seen) < _REMEMBERED else ():  # an example that comes again is no further witness
            if len(self._seen) < _REMEMBERED and (sign := row.tobytes()) not in self._seen:
                self._seen.add(sign)
                self._counts[one] += 1
                self._cuts.add(row, int(one))
        np.minimum.at(self._low, truth, rows)
        np.maximum.at(self._high, truth, rows)
        met = np.flatnonzero(self._counts)
        if not np.isfinite(rows).all():
            self._low = None  # begun anew: what lies between such ends is not known
            return {}
        if len(met) < 2 or self._counts[met].min() < _EXAMPLES or self._counts.sum() < _OTHERS:
            return {}
        low, high = self._low[met], self._high[met]
        best, at, one = 0.0, 0, -1
        for k, mine in enumerate([None, *range(len(met))] if len(met) > 2 else [None]):
            # All classes, each against its neighbours; then one against all others as one.
            rest = np.arange(len(met)) != mine
            lows = low if mine is None else np.stack([low[mine], low[rest].min(0)])
            highs = high if mine is None else np.stack([high[mine], high[rest].max(0)])
            middle = np.sort((lows + highs) / 2, 0)
            gap, wide = np.diff(middle, axis=0).min(0), (highs - lows).max(0)
            told = np.where(gap > 1e-9 * np.abs(middle).max(0), gap / np.maximum(wide, np.maximum(gap / 100, 1e-300)), 0.0)
            place = int(told.argmax())
            if told[place] > best:
                best, at, one = float(told[place]), place, -1 if mine is None else int(met[k - 1])
        return {"column": best, "column_at": float(at), "column_class": float(one)} | self._cuts.told()


class Cuts:
    """How many examples each column of a small table tells rightly by itself, with one cut between each class and the next.

    *Meaning* a label to which a little noise was added, or something that was measured after it was known, has no one number for each
    class, but hardly ever lies on the wrong side of a cut, and far from it. A rule that asks whether a number is above another lies as near to
    its cut as one likes.
    """

    def __init__(self) -> None:
        self._rows: list[NDArray[np.float64]] = []
        self._truth: list[int] = []
        self._found: dict[str, float] = {}

    def add(self, row: NDArray[np.float64], one: int) -> None:
        """An example that was not seen before."""
        if len(self._rows) < _CUT:
            self._rows.append(row)
            self._truth.append(one)
            self._found = {}

    def told(self) -> dict[str, float]:
        """``parted``: the share that the column which tells most tells rightly; ``parted_next``: that of the next; ``parted_at``: which one it is;
        ``parted_apart``: how far the means of neighbouring classes lie apart in it at least, in their two standard deviations together."""
        if not self._found and len(self._rows) >= _OTHERS:
            self._found = _cuts(np.stack(self._rows), np.array(self._truth))
        return self._found


def _cuts(rows: NDArray[np.float64], truth: NDArray[np.int64]) -> dict[str, float]:
    met, truth = np.unique(truth, return_inverse=True)
    if len(met) < 2:
        return {}
    means = np.stack([rows[truth == k].mean(0) for k in range(len(met))])
    spreads = np.stack([rows[truth == k].std(0) for k in range(len(met))]) + 1e-12
    right, apart = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for column in range(rows.shape[1]):
        order = np.argsort(means[:, column])
        mean, spread = means[order, column], spreads[order, column]
        cuts = (mean[:-1] * spread[1:] + mean[1:] * spread[:-1]) / (spread[1:] + spread[:-1])
        right[column] = (order[np.searchsorted(cuts, rows[:, column])] == truth).mean()
        apart[column] = (np.diff(mean) / (spread[1:] + spread[:-1])).min()
    at = int(right.argmax())
    return {
        "parted": float(right[at]), "parted_next": float(np.delete(right, at).max()),
        "parted_at": float(at), "parted_apart": float(min(apart[at], 100.0)),
    }
