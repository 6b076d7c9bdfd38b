"""How numbers become colours, the same in the page, the notebook and exported figures; and the limits that keep pictures honest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Scale = Literal["diverging", "magnitude", "grey", "probability"]

_CLASSES = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
"""matplotlib's petroff10 (Petroff 2021, arXiv:2107.02270)."""
BLUE, ORANGE = "#2467d8", "#ae5500"
"""The ends of the diverging scale: blue is positive, orange negative, of equal OKLab lightness to within 0.02."""
NAN_INK, INFINITE = "#8a8a8a", "#d400d4"
"""NaN cells are hatched in grey, infinite cells are solid magenta."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The range that a colour scale spans, its kind, and how many values it cannot show.

    ``nan``, ``infinite`` and ``clipped`` count the cells that are NaN, infinite, or outside the range; ``unit`` is the
    values' unit for the legend.
    """

    low: float
    high: float
    scale: Scale = "magnitude"
    nan: int = 0
    infinite: int = 0
    clipped: int = 0
    unit: str = ""


def _count(values: NDArray[np.floating], low: float, high: float) -> tuple[int, int, int]:
    nan = int(np.isnan(values).sum())
    infinite = int(np.isinf(values).sum())
    # A value within rounding of the limit is not clipped.
    slack = 1e-6 * max(abs(low), abs(high), 1e-30)
    with np.errstate(invalid="ignore"):
        clipped = int(((values < low - slack) | (values > high + slack)).sum()) - infinite
    return nan, infinite, clipped


def _floats(values: object) -> NDArray[np.floating]:
    array = np.asarray(values)
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)


def symmetric(values: object, limit: float | None = None, unit: str = "") -> Limits:
    """Limits for signed values: centred on zero, the largest finite magnitude unless a fixed, finite limit is given."""
    array = _floats(values)
    if limit is None or not math.isfinite(limit):
        finite = np.abs(array[np.isfinite(array)])
        limit = float(finite.max()) if finite.size else 0.0
    limit = float(limit) or 1.0
    nan, infinite, clipped = _count(array, -limit, limit)
    return Limits(low=-limit, high=limit, scale="diverging", nan=nan, infinite=infinite, clipped=clipped, unit=unit)


def magnitude(
    values: object, low: float | None = None, high: float | None = None, scale: Scale = "magnitude", unit: str = ""
) -> Limits:
    """Limits for values without a meaningful sign: zero (or the smallest negative value) to the largest finite value, unless fixed, finite
    ones are given."""
    array = _floats(values)
    finite = array[np.isfinite(array)]
    if low is None or not math.isfinite(low):
        low = min(0.0, float(finite.min())) if finite.size else 0.0
    if high is None or not math.isfinite(high):
        high = float(finite.max()) if finite.size else 1.0
    if high <= low:
        high = low + 1.0
    nan, infinite, clipped = _count(array, low, high)
    return Limits(low=float(low), high=float(high), scale=scale, nan=nan, infinite=infinite, clipped=clipped, unit=unit)


def class_colour(index: int) -> str:
    """The colour of a class by its index; they repeat beyond thirty."""
    return CLASSES[index % len(CLASSES)]


def rgb(colour: str) -> tuple[float, float, float]:
    """A '#rrggbb' colour as three numbers from 0 to 1."""
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


_TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                    [0.0883024619, 0.2817188376, 0.6299787005]])
_TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                    [0.0259040371, 0.7827717662, -0.8086757660]])


def to_oklab(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB (…, 3) in 0..1 to OKLab (Ottosson 2020)."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lab: NDArray[np.float64] = np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T
    return lab


def from_oklab(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """OKLab (…, 3) to sRGB in 0..1, clipped to the gamut."""
    linear = ((lab @ np.linalg.inv(_TO_LAB).T) ** 3) @ np.linalg.inv(_TO_LMS).T
    linear = np.clip(linear, 0, 1)
    return np.clip(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055), 0, 1)


def _shaded(colour: str, lightness: float) -> str:
    """A colour lighter or darker by so much in OKLab."""
    lab = to_oklab(np.array(rgb(colour)))
    lab[0] = np.clip(lab[0] + lightness, 0.2, 0.97)
    return "#" + "".join(f"{int(part):02x}" for part in np.rint(from_oklab(lab) * 255))


CLASSES = tuple(_shaded(each, by) if by else each for by in (0.0, -0.19, 0.1) for each in _CLASSES)
"""The colours of classes by index, the same in every view: the ten, and those darker and lighter for more than ten."""


def ramp(stops: Sequence[str], size: int = 256) -> NDArray[np.uint8]:
    """A colour table (size, 3) that goes through the stops at equal distances, straight in OKLab."""
    lab = to_oklab(np.array([rgb(stop) for stop in stops]))
    at = np.linspace(0, len(stops) - 1, size)
    mixed = np.stack([np.interp(at, np.arange(len(stops)), lab[:, k]) for k in range(3)], 1)
    return np.rint(from_oklab(mixed) * 255).astype(np.uint8)


def diverging(paper: str = "#ffffff", size: int = 257) -> NDArray[np.uint8]:
    """The signed colour table on a given paper: orange, paper at zero, blue."""
    dark = to_oklab(np.array(rgb(paper)))[0] < 0.5
    ends = ("#e58c30", "#69a5fd") if dark else (ORANGE, BLUE)
    return ramp((ends[0], paper, ends[1]), size)
