"""Rounding: how far apart two numbers may lie that are the same but for the order in which they were summed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

SINGLE = 2.0**-23
"""The distance from 1 to the next number in single precision, in which most networks compute."""
DOUBLE = 2.0**-52
UNITS = 64
"""Kernels sum a layer's terms in another order on each processor, and for each size of a batch."""
HALF_UNITS = 4
"""In half precision sums are made in single precision, and rounded once a layer."""


def rounding(size: Any, eps: float = SINGLE) -> Any:
    """The largest difference of numbers of a size that is none: whoever asks whether something changed asks this.

    *Meaning* the same input gives answers that differ by so much in a batch of another size, in windows instead of
    whole maps, with another number of threads, or on another processor. ``eps`` is the distance from 1 to the next
    number in the precision in which they were computed. Not-a-number where the size is.
    """
    return size * (eps * (UNITS if eps < 1e-4 else HALF_UNITS))


def alike(low: Any, high: Any, eps: float = SINGLE) -> Any:
    """Whether the lowest and the highest of some numbers (arrays or tensors of them) are the same but for rounding."""
    with np.errstate(invalid="ignore"):  # of infinite numbers
        apart = high - low
    return (apart <= rounding(abs(low) + abs(high), eps) / 2) & (apart < math.inf)


def summed(numbers: Any, axis: int, eps: float = SINGLE) -> Any:
    """Sums along an axis of an array or tensor: exactly 0 where the terms cancel out, and nothing but their rounding is left.

    Slopes along an embedding do so where a norm that follows takes out what all have in common.
    """
    found, size = numbers.sum(axis), abs(numbers).sum(axis)
    none = (abs(found) <= rounding(size, eps)) & (size < math.inf)
    return found * ~none + 0  # no −0


def deviations(rows: NDArray[Any], eps: float = SINGLE) -> NDArray[Any]:
    """The standard deviation of each column of (n, columns): exactly 0 where it is the same everywhere but for rounding.

    The mean of equal numbers is rounded, so that their plain deviation is mostly not 0, and dividing by it makes noise.
    """
    with np.errstate(invalid="ignore"):
        found: NDArray[Any] = np.where(alike(rows.min(0), rows.max(0), eps), 0, rows.std(0))
    return found
