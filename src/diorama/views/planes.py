"""Planes on which examples lie: how far they go, and what lies densest at each place."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CELLS = 96
"""Places along each side of the ground."""


def square(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """A square about points (n, 2), in steps of a tenth of its size, so that it seldom moves."""
    both = np.nan_to_num(points, nan=0, posinf=0, neginf=0)
    low, high = both.min(0), both.max(0)
    half = 1.05 * float((high - low).max()) / 2 or 1.0
    step = 10 ** math.floor(math.log10(half)) / 2
    half = math.ceil((half + step / 4) / step) * step  # the middle is rounded by a quarter of a step at most
    middle = [round(float(value) / (step / 2)) * (step / 2) for value in (low + high) / 2]
    return middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half


def shares(
    both: NDArray[np.float64], labels: NDArray[np.int64], count: int, extent: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """The share of each class among the codes near every place; even where none is near, (cells, cells, classes)."""
    low_x, high_x, low_y, high_y = extent
    cells = (np.arange(CELLS) + 0.5) / CELLS
    # As wide as Scott's rule for a plane, in each class's place: half the whole cloud's.
    width = 0.5 * max(float(np.nanstd(both)), 1e-12) * len(both) ** (-1 / 6)
    fine = np.isfinite(both).all(1)
    near_x = np.exp(-((low_x + cells[:, None] * (high_x - low_x) - both[fine, 0]) ** 2) / (2 * width**2))
    near_y = np.exp(-((low_y + cells[:, None] * (high_y - low_y) - both[fine, 1]) ** 2) / (2 * width**2))
    told = np.eye(count)[np.clip(labels[fine], 0, count - 1)]
    sums = np.einsum("yn,xn,nc->yxc", near_y, near_x, told, optimize=True)
    # Half an example's worth of doubt, spread evenly, lets the colour fade where no example lies.
    shares: NDArray[np.float32] = ((sums + 0.5 / count) / (sums.sum(-1, keepdims=True) + 0.5)).astype(np.float32)
    return shares
