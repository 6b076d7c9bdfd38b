"""Regions of a picture that may hold something: windows of several sizes and shapes, or merged segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDES = (0.25, 0.35, 0.5, 0.7)
"""Sides of windows, as shares of the picture's."""
SHAPES = (1.0, 2.0, 0.5)
"""How many times wider than high a window is, for the same area."""
SMALLEST = 0.004
"""Segments of a smaller share of the picture are no regions."""


class Region(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def area(self) -> int:
        """Its pixels."""
        return self.height * self.width

    def overlap(self, other: Region) -> float:
        """The area that two regions share, as a share of what they cover together."""
        high = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        both = max(0, high) * max(0, wide)
        return both / (self.area + other.area - both)


def windows(rows: int, columns: int) -> list[Region]:
    """Windows of four sizes and three shapes, in steps of half of their sides, from small to large.

    *Meaning* they depend on the picture's size alone; the last of each row and column end at the border.
    """
    found: dict[Region, None] = {}
    for side in SIDES:
        for shape in SHAPES:
            height = min(rows, max(1, round(side * rows / math.sqrt(shape))))
            width = min(columns, max(1, round(side * columns * math.sqrt(shape))))
            for top in _starts(rows, height):
                for left in _starts(columns, width):
                    found[Region(top, left, height, width)] = None
    return list(found)


def _starts(length: int, size: int) -> list[int]:
    count = math.ceil((length - size) / max(1, size / 2)) + 1
    return [round(k * (length - size) / max(1, count - 1)) for k in range(count)]


def segments(pixels: NDArray[np.uint8], count: int = 40) -> list[Region]:
    """The boxes of a picture's segments, and of all that arises when the most alike neighbours are joined until one is left.

    *Meaning* segments are SLIC superpixels; two neighbours are alike in the distance of their mean colours, and small
    ones are joined first. About twice ``count`` regions come, fewer where boxes are equal; the whole picture is none.
    *Shapes* pixels (height, width) or (height, width, 3).
    *Source* after Uijlings et al., Selective Search for Object Recognition, IJCV 2013, with colour and size as similarity.
    """
    from skimage.segmentation import slic

    colour = np.broadcast_to(np.atleast_3d(pixels), (*pixels.shape[:2], 3)).astype(np.float64) / 255
    labels = slic(colour, n_segments=count, start_label=0, channel_axis=-1, convert2lab=True)
    groups = _groups(labels, colour)
    beside = _neighbours(labels)
    found: dict[Region, None] = {}
    whole = labels.size
    for group in groups.values():
        _take(found, group, whole)
    fresh = len(groups)
    while beside:
        a, b = min(beside, key=lambda pair: _unlike(groups[pair[0]], groups[pair[1]], whole))
        groups[fresh] = groups.pop(a).joined(groups.pop(b))
        beside = {
            pair for pair in (_renamed(pair, (a, b), fresh) for pair in beside) if pair[0] != pair[1]
        }
        _take(found, groups[fresh], whole)
        fresh += 1
    return list(found)


class _Group(NamedTuple):
    top: int
    left: int
    bottom: int
    right: int
    size: int
    colour: NDArray[np.float64]

    def joined(self, other: _Group) -> _Group:
        size = self.size + other.size
        return _Group(
            min(self.top, other.top), min(self.left, other.left), max(self.bottom, other.bottom),
            max(self.right, other.right), size, (self.size * self.colour + other.size * other.colour) / size,
        )


def _groups(labels: NDArray[np.int64], colour: NDArray[np.float64]) -> dict[int, _Group]:
    found = {}
    for number in np.unique(labels):
        rows, columns = np.nonzero(labels == number)
        found[int(number)] = _Group(
            int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1, len(rows),
            colour[rows, columns].mean(0),
        )
    # Numbers without gaps, so that joined groups get fresh ones.
    return {k: found[number] for k, number in enumerate(sorted(found))}


def _neighbours(labels: NDArray[np.int64]) -> set[tuple[int, int]]:
    dense = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    pairs = np.concatenate(
        [
            np.stack([dense[1:].ravel(), dense[:-1].ravel()], 1),
            np.stack([dense[:, 1:].ravel(), dense[:, :-1].ravel()], 1),
        ]
    )
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], 1), axis=0)
    return {(int(a), int(b)) for a, b in pairs}


def _renamed(pair: tuple[int, int], gone: tuple[int, int], fresh: int) -> tuple[int, int]:
    a, b = sorted(fresh if number in gone else number for number in pair)
    return a, b


def _unlike(a: _Group, b: _Group, whole: int) -> float:
    """How unlike two groups are: their colours' distance, and how much of the picture they would fill."""
    return float(np.linalg.norm(a.colour - b.colour)) + (a.size + b.size) / whole


def _take(found: dict[Region, None], group: _Group, whole: int) -> None:
    region = Region(group.top, group.left, group.bottom - group.top, group.right - group.left)
    if SMALLEST * whole <= region.area < whole and min(region.height, region.width) > 1:
        found[region] = None


def apart(regions: Sequence[Region], order: Sequence[int], most: float) -> list[int]:
    """Of regions in an order the numbers of those that overlap none before them by more than ``most``."""
    kept: list[int] = []
    for number in order:
        if all(regions[number].overlap(regions[other]) <= most for other in kept):
            kept.append(int(number))
    return kept
