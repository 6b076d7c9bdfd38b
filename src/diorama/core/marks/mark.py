"""What every mark has and what the marks share: handles, the checks of their arrays, the range of their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from ..errors import UsageError

Array = np.ndarray
"""Arrays travel in binary beside the header; the comment of each field gives its shape."""

Range = tuple[float, float]
"""A lower and an upper end."""


class Handle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What dragging or typing sets: the knob's name, how it is moved, and its range.

    ``point`` sets a place: "row,column" in an image's pixels, "x,y" in a field's own numbers. ``path`` sets a line drawn
    by hand over a field: "x,y;x,y;…", at most 64 places; ``strokes`` sets several of them, with | where the pen is lifted.
    ``slide`` sets a number between ``low`` and ``high``, or, if ``whole``, one of the whole numbers there, ``range``
    "first:last" over curves, ``type`` what a person types. ``value`` is where it stands, in the same form.
    """

    knob: str
    kind: Literal["point", "range", "slide", "type", "path", "strokes"]
    low: float = 0.0
    high: float = 1.0
    value: str = ""
    whole: bool = False


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="mark", tag=str.lower):
    """What every mark has: a title, a caption and perhaps a handle; one that is doubted is pale."""

    title: str = ""
    caption: str = ""
    handle: Handle | None = None
    doubted: bool = False  # drawn pale: its own check fails, as its caption says

    def ranges(self) -> dict[str, Range]:
        """What must stay the same from frame to frame of a film, by name: the ranges of its axes."""
        return {}

    def within(self, ranges: Mapping[str, Range]) -> Mark:
        """The mark as it is drawn where its ``ranges`` are these wider ones."""
        return msgspec.structs.replace(self, **ranges) if ranges else self


def check_shape(mark: object, name: str, array: Array, dimensions: tuple[int, ...]) -> None:
    """Raise UsageError where a mark's array has another number of dimensions."""
    if not isinstance(array, np.ndarray) or array.ndim not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        came = f"shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(f"{type(mark).__name__}.{name} wants an array of {wanted} dimensions, got {came}")


def check_length(mark: object, name: str, came: object, wanted: object) -> None:
    """Raise UsageError where a part of a mark is longer or shorter than what it belongs to."""
    if came != wanted:
        raise UsageError(f"{type(mark).__name__}.{name} wants {wanted} elements, got {came}")


def span(arrays: Sequence[np.ndarray], log: bool = False, zero: bool = False) -> tuple[float, float]:
    """The range of the finite (for a logarithm: positive) values of several arrays."""
    low, high = math.inf, -math.inf
    for array in arrays:
        good = array[np.isfinite(array) & (array > 0 if log else True)]
        if good.size:
            low, high = min(low, float(good.min())), max(high, float(good.max()))
    if low > high:
        return (0.1, 1.0) if log else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return (low / 2, high * 2) if log else (low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5))
    return low, high
