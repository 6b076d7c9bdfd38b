"""Histograms whose bins are the number format's own: eight equal bins in each power of two, found by a shift of the
bits.

A bin is numbered by the sign, the exponent and the top three bits of the mantissa of a float32, so no range has to be
known beforehand and histograms of any two steps share their edges. What is smaller than 2^-12 of the largest
magnitude falls into one bin round zero, so a histogram has at most about two hundred bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .store_bytes import HistogramBlock

SHIFT = 20
"""Bits of a float32 that are cut off."""
PER_OCTAVE = 8
OCTAVES = 12
MAGNITUDES = 2040
"""Finite magnitudes; the bins above hold infinities and NaN."""
BINS = 4096
STATISTICS = 9
NAMES = ("low", "high", "mean", "std", "count", "nan", "infinite", "norm", "stride")
Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class HistogramValue:
    """One histogram: counts of compressed bins from ``start`` on (0 is the bin round zero), and exact statistics.

    A positive compressed bin ``c`` is the magnitude bin ``c + floor``; a negative one is its mirror image. The
    statistics are low, high, mean, std, count, nan, infinite, norm and stride; all are taken over every element, the
    counts over every ``stride``-th. Low, high, mean and std leave out what is not finite.
    """

    counts: NDArray[np.uint32]
    start: int
    floor: int
    statistics: Array
    zero: float = float("nan")
    """The share of the counted elements that are nothing at all; known where the values were read, not stored."""

    @property
    def norm(self) -> float:
        """The Euclidean norm of the tensor."""
        return float(self.statistics[7])


def from_bins(full: NDArray[np.integer], statistics: Array) -> HistogramValue:
    """Compress the counts of all 4096 bit patterns: positive magnitudes first, then negative ones."""
    positive, negative = full[:MAGNITUDES], full[BINS // 2 : BINS // 2 + MAGNITUDES]
    top = -1
    for side in (positive, negative):
        used = side.nonzero()[0]
        if used.size:
            top = max(top, int(used[-1]))
    zero = float(full[0] + full[BINS // 2]) / max(int(full.sum()), 1)
    return _compressed(positive, negative, top, statistics, zero)


def from_many_bins(full: NDArray[np.integer], statistics: Array) -> list[HistogramValue]:
    """The same for many tensors at once: (tensors, 4096) counts and (tensors, 9) statistics."""
    positive, negative = full[:, :MAGNITUDES], full[:, BINS // 2 : BINS // 2 + MAGNITUDES]
    filled = (positive + negative)[:, ::-1] > 0
    tops = np.where(filled.any(1), MAGNITUDES - 1 - filled.argmax(1), -1).tolist()
    zeros = ((full[:, 0] + full[:, BINS // 2]) / np.maximum(full.sum(1), 1)).tolist()
    return [_compressed(*each) for each in zip(positive, negative, tops, statistics, zeros, strict=True)]


def _compressed(
    positive: NDArray[np.integer], negative: NDArray[np.integer], top: int, statistics: Array, zero: float
) -> HistogramValue:
    if top < 0:
        return HistogramValue(np.zeros(0, np.uint32), 0, 0, statistics, zero)
    floor = max(0, -(-(top + 1) // PER_OCTAVE) * PER_OCTAVE - OCTAVES * PER_OCTAVE)
    width = top - floor
    below = negative[floor + 1 : top + 1]
    # Nothing negative (behind a ReLU, say): the window begins at zero.
    left = width if width and below.any() else 0
    counts = np.empty(left + 1 + width, np.uint32)
    counts[left] = positive[: floor + 1].sum() + negative[: floor + 1].sum()
    counts[left + 1 :] = positive[floor + 1 : top + 1]
    if left:
        counts[:left] = below[::-1]
    return HistogramValue(counts, -left, floor, statistics, zero)


def edge(magnitude: NDArray[np.int64]) -> Array:
    """The lower edge of magnitude bins, as numbers."""
    bits = np.clip(magnitude, 0, MAGNITUDES - 1).astype(np.uint32) << SHIFT
    found = bits.view(np.float32).astype(np.float64)
    found[magnitude >= MAGNITUDES] = 2.0**128
    return found


@dataclasses.dataclass(frozen=True)
class HistogramSeries:
    """How a tensor's values were distributed at several steps, on common edges.

    *Shapes* ``steps`` (S,), ``edges`` (B + 1,), ``counts`` (S, B); all statistics (S,).
    *Meaning* ``counts`` are of every ``stride``-th element; the bin round zero may at a step hold magnitudes up to
    2^-12 of that step's largest one.
    """

    steps: NDArray[np.int64]
    edges: Array
    counts: NDArray[np.unsignedinteger]
    statistics: Array

    @classmethod
    def of(cls, block: HistogramBlock) -> HistogramSeries:
        """Bring a block to edges that all its steps share."""
        if not len(block) or not block.counts.shape[1]:
            return cls(block.steps, np.zeros(1), np.zeros((len(block), 0), np.uint32), block.statistics)
        floors, bins = block.floors, np.arange(block.start, block.start + block.counts.shape[1])
        filled = block.counts.any(1)
        lowest = int(floors[filled].min()) if filled.any() else 0
        if (floors[filled] == lowest).all():
            return cls(block.steps, _edges(bins, lowest), block.counts, block.statistics)
        highest = int(floors[filled].max())
        reach = np.where(bins == 0, 0, bins + np.sign(bins) * (highest - lowest))
        start, stop = min(int(reach[0]), int(bins[0]), 0), max(int(reach[-1]), int(bins[-1]), 0) + 1
        counts = np.zeros((len(block), stop - start), block.counts.dtype)
        for floor in np.unique(floors[filled]):
            rows = np.flatnonzero(filled & (floors == floor))
            target = np.where(bins == 0, 0, bins + np.sign(bins) * (int(floor) - lowest)) - start
            counts[rows[:, None], target[None, :]] = block.counts[rows]
        used = np.flatnonzero(counts.any(0))
        first, last = int(used[0]), int(used[-1]) + 1
        edges = _edges(np.arange(start + first, start + last), lowest)
        return cls(block.steps, edges, counts[:, first:last], block.statistics)

    def __len__(self) -> int:
        return len(self.steps)

    def _column(self, name: str) -> Array:
        column: Array = self.statistics[:, NAMES.index(name)]
        return column

    @property
    def low(self) -> Array:
        """The smallest finite value at each step."""
        return self._column("low")

    @property
    def high(self) -> Array:
        """The largest finite value at each step."""
        return self._column("high")

    @property
    def mean(self) -> Array:
        """The mean of the finite values."""
        return self._column("mean")

    @property
    def std(self) -> Array:
        """The standard deviation of the finite values."""
        return self._column("std")

    @property
    def count(self) -> Array:
        """How many elements the tensor has."""
        return self._column("count")

    @property
    def nan(self) -> Array:
        """How many of them are NaN."""
        return self._column("nan")

    @property
    def infinite(self) -> Array:
        """How many of them are infinite."""
        return self._column("infinite")

    @property
    def norm(self) -> Array:
        """The Euclidean norm."""
        return self._column("norm")

    @property
    def stride(self) -> Array:
        """Every which element was counted."""
        return self._column("stride")

    @property
    def shares(self) -> Array:
        """Counts as shares of each step's total; zero where nothing was counted."""
        totals = self.counts.sum(1, dtype=np.float64)[:, None]
        found: Array = np.divide(self.counts, totals, out=np.zeros(self.counts.shape), where=totals > 0)
        return found

    def density(self, edges: Array) -> Array:
        """Shares on other edges, (S, len(edges) - 1): each bin is spread evenly over its width."""
        if not self.counts.shape[1]:
            return np.zeros((len(self), len(edges) - 1))
        below = np.concatenate([np.zeros((len(self), 1)), np.cumsum(self.shares, 1)], 1)
        at = np.interp(edges, self.edges, np.arange(len(self.edges)))
        left = np.minimum(at.astype(np.int64), len(self.edges) - 2)
        part = at - left
        cumulative = below[:, left] * (1 - part) + below[:, left + 1] * part
        found: Array = np.diff(cumulative, axis=1)
        return found

    def quantiles(self, wanted: Sequence[float]) -> Array:
        """Quantiles at each step, (S, len(wanted)), exact to the width of a bin and never outside low and high."""
        found = np.full((len(self), len(wanted)), np.nan)
        if not self.counts.shape[1]:
            return found
        below = np.concatenate([np.zeros((len(self), 1)), np.cumsum(self.shares, 1)], 1)
        for row in np.flatnonzero(below[:, -1] > 0):
            strict = np.concatenate([[True], np.diff(below[row]) > 0])
            # The edge before the first filled bin starts the curve, not the window's edge.
            first = int(np.argmax(below[row] > 0)) - 1
            strict[:first] = False
            strict[first] = True
            values = np.interp(wanted, below[row][strict], self.edges[strict])
            found[row] = np.clip(values, self.low[row], self.high[row])
        return found


def _edges(bins: NDArray[np.int64], floor: int) -> Array:
    """The edges of consecutive compressed bins: one more than there are bins."""
    below = np.append(bins, bins[-1] + 1)
    positive = below > 0
    magnitude = np.where(positive, below, 1 - below) + floor
    return np.where(positive, 1.0, -1.0) * edge(magnitude)
