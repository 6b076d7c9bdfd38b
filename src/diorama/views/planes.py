"""Planes on which examples lie: how far they go, and what lies densest at each place."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CELLS = 96
"""Places along each side of the ground."""


LEVELS = (0.5, 0.15)
"""Contours stand where a class is so large a part of its greatest density."""


def square(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """A square about points (n, 2), in steps of a tenth of its size, so that it seldom moves."""
    (left, right), (low, high) = cube(points)
    return left, right, low, high


def cube(points: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """The range of each axis about points (n, dimensions), all of one length, in steps of a tenth of their size, so that they seldom move."""
    both = np.nan_to_num(points, nan=0, posinf=0, neginf=0)
    low, high = both.min(0), both.max(0)
    half = 1.05 * float((high - low).max()) / 2 or 1.0
    step = 10 ** math.floor(math.log10(half)) / 2
    half = math.ceil((half + step / 4) / step) * step  # the middle is rounded by a quarter of a step at most
    middle = [round(float(value) / (step / 2)) * (step / 2) for value in (low + high) / 2]
    return tuple((one - half, one + half) for one in middle)


def contours(
    both: NDArray[np.float64], groups: NDArray[np.int64], extent: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """Where the density of each class crosses a half and a seventh of its greatest, (pieces, 5): x, y to x, y, and the class.

    A class of fewer than three points, and points of the class -1, have none.
    """
    from skimage.measure import find_contours

    low_x, high_x, low_y, high_y = extent
    side = np.array([(high_x - low_x) / CELLS, (high_y - low_y) / CELLS])
    fine = np.isfinite(both).all(1)
    found = [np.zeros((0, 5))]
    for number in np.unique(groups[fine & (groups >= 0)]):
        members = both[fine & (groups == number)]
        if len(members) < 3:
            continue
        near_x, near_y = _near(members, extent, _width(members) or float(side.max()))
        density = np.pad(np.einsum("yn,xn->yx", near_y, near_x), 1)  # a ring of nothing closes each contour
        for level in LEVELS:
            for line in find_contours(density, level * density.max()):  # type: ignore[no-untyped-call]
                at = np.array([low_x, low_y]) + (line[:, ::-1] - 0.5) * side
                found.append(np.column_stack([at[:-1], at[1:], np.full(len(at) - 1, number)]))
    return np.concatenate(found).astype(np.float32)


def _width(points: NDArray[np.float64]) -> float:
    """As wide as Scott's rule for a plane says."""
    width: float = points.std(0).mean() * len(points) ** (-1 / 6)
    return width


def _near(
    points: NDArray[np.float64], extent: tuple[float, float, float, float], width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How near the middles of the columns and of the rows are to each point: a Gauss of this width."""
    low_x, high_x, low_y, high_y = extent
    cells = (np.arange(CELLS) + 0.5) / CELLS
    near_x = np.exp(-((low_x + cells[:, None] * (high_x - low_x) - points[:, 0]) ** 2) / (2 * width**2))
    near_y = np.exp(-((low_y + cells[:, None] * (high_y - low_y) - points[:, 1]) ** 2) / (2 * width**2))
    return near_x, near_y


def shares(
    both: NDArray[np.float64], labels: NDArray[np.int64], count: int, extent: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """The share of each class among the codes near every place; even where none is near, (cells, cells, classes)."""
    # As wide as Scott's rule for a plane, in each class's place: half the whole cloud's.
    width = 0.5 * max(float(np.nanstd(both)), 1e-12) * len(both) ** (-1 / 6)
    fine = np.isfinite(both).all(1)
    near_x, near_y = _near(both[fine], extent, width)
    told = np.eye(count)[np.clip(labels[fine], 0, count - 1)]
    sums = np.einsum("yn,xn,nc->yxc", near_y, near_x, told, optimize=True)
    # Half an example's worth of doubt, spread evenly, lets the colour fade where no example lies.
    shares: NDArray[np.float32] = ((sums + 0.5 / count) / (sums.sum(-1, keepdims=True) + 0.5)).astype(np.float32)
    return shares
