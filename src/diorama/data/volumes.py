"""Volumes and clips: numbers (n, channels, depth, rows, columns) or (n, time, channels, rows, columns), as slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_CHANNELS = 4
"""An axis in front of rows and columns that is no longer, while the one before it is, holds colours."""


def channel_axis(shape: Sequence[int]) -> int:
    """Which of the four axes of one example counts channels: the first of a volume, the second of a clip of frames."""
    return int(shape[1] <= _CHANNELS < shape[0])


def slices(shape: Sequence[int]) -> int:
    """How many slices or frames one example of a shape has."""
    return int(shape[1 - channel_axis(shape)])


def stacked(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor], int]:
    """The slices (or frames) of volumes one below the other, as images (n, channels, depth · rows, columns); the way
    back; and how many slices there are.
    """
    clip = channel_axis(x.shape[1:]) == 1
    volumes = x.transpose(1, 2) if clip else x
    depth, rows = volumes.shape[2:4]

    def back(image: Tensor) -> Tensor:
        made: Tensor = image.unflatten(2, (depth, rows))
        return (made.transpose(1, 2) if clip else made).contiguous()

    return volumes.flatten(2, 3), back, int(depth)


def montage(example: NDArray[np.float64], channels: str = "sum") -> NDArray[np.float64]:
    """The slices of one example side by side, (rows, columns): its channels summed, or as ``"mean"``; empty places are no
    numbers.
    """
    planes = example.sum(channel_axis(example.shape)) if channels == "sum" else example.mean(channel_axis(example.shape))
    depth, rows, columns = planes.shape
    across = max(1, min(depth, round(math.sqrt(depth * rows / columns))))
    down = math.ceil(depth / across)
    whole = np.full((down * across, rows, columns), np.nan)
    whole[:depth] = planes
    tiled: NDArray[np.float64] = whole.reshape(down, across, rows, columns).swapaxes(1, 2).reshape(down * rows, across * columns)
    return tiled
