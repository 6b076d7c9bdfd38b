"""Medians as findings ask for them: NumPy's own load its masked arrays, which take longer than most findings of a run together."""

from __future__ import annotations

from typing import Any

import numpy as np


def median(values: Any, axis: int | None = None) -> Any:
    """The median of all numbers or along an axis, the mean of the two in the middle where their number is even; NaN where one is NaN."""
    found = np.asarray(values)
    ordered, axis = (np.sort(found, None), 0) if axis is None else (np.sort(found, axis), axis)
    count = ordered.shape[axis]
    if not count:
        return np.full(ordered.sum(axis).shape, np.nan)[()]
    middle = ordered.take([(count - 1) // 2, count // 2], axis).mean(axis)
    return np.where(np.isnan(ordered.take(-1, axis)), np.nan, middle)[()]  # NaN are sorted to the end


def nanmedian(values: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The same of those that are not NaN; NaN where all are."""
    found = np.asarray(values, float)
    ordered, along = (np.sort(found, None), 0) if axis is None else (np.sort(found, axis), axis)
    if not ordered.shape[along]:
        return np.full(ordered.sum(along, keepdims=keepdims).shape, np.nan)[()]
    count = (~np.isnan(ordered)).sum(along, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, along)
    high = np.take_along_axis(ordered, np.minimum(count // 2, np.maximum(count - 1, 0)), along)
    middle = (low + high) / 2
    return middle if keepdims and axis is not None else middle.squeeze(along)[()]
