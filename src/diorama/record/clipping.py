"""Weights that the loop itself cuts to an end after each step, as for the critic of a Wasserstein GAN."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_MANY, _MOST = 0.5, 0.05
"""Of so many weights the largest number has the very same size, and so many of all numbers lie there."""


def clipped_at(numbers: Mapping[str, NDArray[np.float32]]) -> float:
    """The size at which weights are cut, from their numbers by name; 0 where none is.

    *Meaning* of numbers that were drawn and learnt hardly two are as large as the largest; of those that are cut many lie exactly at the end,
    the same in most layers. Weights that are one number all over began so, and are not cut.
    """
    weights = [np.abs(array) for array in numbers.values() if array.ndim > 1 and array.size and array.dtype.kind == "f" and np.ptp(array)]
    ends = [float(sizes.max()) for sizes in weights]
    if not ends:
        return 0.0
    end = max(set(ends), key=ends.count)
    at = [int((sizes == end).sum()) for sizes in weights]
    enough = ends.count(end) > _MANY * len(ends) and sum(at) > _MOST * sum(sizes.size for sizes in weights) and min(n for n in at if n) > 1
    return end if end > 0 and np.isfinite(end) and enough else 0.0
