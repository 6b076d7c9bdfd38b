"""Scales, ticks and the frame that lines, ridges and fields are drawn in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from . import typeset
from .sheet import Sheet
from .style import HAIRLINE, LABEL, MUTED, short


@dataclasses.dataclass(frozen=True)
class Axis:
    """A range of numbers on a stretch of paper, from ``start`` to ``stop`` in layout pixels."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    time: bool = False
    whole: bool = False
    """Only whole numbers mean something on it."""
    bare: bool = False
    """No number means anything on it: it has no ticks."""

    def __call__(self, values: np.ndarray | float) -> np.ndarray:
        """Where the values lie on the paper; what a logarithm cannot show becomes NaN."""
        array = np.asarray(values, float)
        low, high = self.low, self.high
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                array = np.where(array > 0, np.log10(array), np.nan)
            low, high = math.log10(low), math.log10(high)
        return self.start + (array - low) / ((high - low) or 1.0) * (self.stop - self.start)

    def ticks(self, wanted: int) -> list[tuple[float, str]]:
        """About as many round numbers as wanted, with their labels."""
        if self.bare:
            return []
        if self.log:
            return _decades(self.low, self.high, wanted)
        if self.time:
            return _times(self.low, self.high, wanted)
        return _round(self.low, self.high, wanted, self.whole)


def _round(low: float, high: float, wanted: int, whole: bool = False) -> list[tuple[float, str]]:
    step = nice((high - low) / max(1, wanted))
    step = max(step, 1.0) if whole else step
    if step <= 0 or not math.isfinite(step):
        return [(low, short(low))]
    first = math.ceil(low / step - 1e-9)
    values = [k * step for k in range(first, first + 50) if k * step <= high + 1e-9 * step]
    if len(values) < 2 and wanted > 1 and not whole:
        return _round(low, high, wanted + 1)  # one number alone tells no scale
    labels = [_plain(v, step) for v in values]
    digits = 4
    while len(set(labels)) < len(labels) and digits < 12:  # no two ticks read alike
        labels, digits = [short(v, digits) for v in values], digits + 1
    return [(0.0 if abs(v) < step * 1e-6 else v, label) for v, label in zip(values, labels, strict=True)]


def nice(step: float) -> float:
    """The next round step: 1, 2 or 5 times a power of ten."""
    if step <= 0 or not math.isfinite(step):
        return 0.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9))


def _plain(value: float, step: float) -> str:
    """A tick's label with just the digits that its step has."""
    if abs(value) < step * 1e-6:
        return "0"
    if abs(value) >= 1e6 or step < 1e-4:
        return short(value)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{digits}f}".replace("-", "−")


def _decades(low: float, high: float, wanted: int) -> list[tuple[float, str]]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    each = max(1, math.ceil((last - first) / max(1, wanted)))
    factors = (1,) if last - first > max(2, wanted / 2) else (1, 2, 5)
    values = [f * 10.0**k for k in range(first, last + 1, each) for f in factors]
    return [(v, short(v)) for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)] or [
        (low, short(low)),
        (high, short(high)),
    ]


def _times(low: float, high: float, wanted: int) -> list[tuple[float, str]]:
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
    step = next((s for s in steps if (high - low) / s <= wanted), nice((high - low) / max(1, wanted)))
    if high - low < wanted:
        return [(v, f"{label} s") for v, label in _round(low, high, wanted)]
    first = math.ceil(low / step)
    return [(k * step, _clock(k * step)) for k in range(first, int(high // step) + 1)]


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" if whole % 60 == 0 else f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


@dataclasses.dataclass
class PlotFrame:
    """The plotting area with its two axes; ``right`` and ``bottom`` are its edges."""

    left: float
    top: float
    right: float
    bottom: float
    x: Axis
    y: Axis

    @property
    def clip(self) -> tuple[float, float, float, float]:
        """The area that lines may use."""
        return self.left, self.top, self.right, self.bottom


def frame(
    sheet: Sheet, width: float, height: float, x: Callable[[float, float], Axis], y: Callable[[float, float], Axis],
    x_title: str, y_title: str, *, top: float = 4.0, right: float = 8.0, left: float = 0.0, grid: bool = True,
) -> PlotFrame:
    """Draw ticks, labels and grid lines round a plotting area of this outer size; ``x`` and ``y`` make the axes.

    The labels of y have at least ``left``.
    """
    bottom = height - 18 - (14 if x_title else 0)
    up = y(bottom, top)
    y_ticks = up.ticks(max(2, int((bottom - top) / 40)))
    labels = max((typeset.width(label, LABEL) for _, label in y_ticks), default=0.0)
    left = max(left, labels + 8 + (16 if y_title else 0))
    right_edge = width - right
    along = x(left, right_edge)
    for value, label in y_ticks:
        at = float(up(value))
        if grid:
            sheet.line([left, right_edge], [at, at], HAIRLINE, 0.8)
        sheet.text(left - 6, at + 4, label, LABEL, MUTED, anchor="right")
    ticks_below(sheet, along, bottom, width)
    if x_title:
        sheet.text(
            (left + right_edge) / 2,
            bottom + 30,
            typeset.fit(x_title, LABEL, right_edge - left),
            LABEL,
            MUTED,
            anchor="center",
        )
    if y_title:
        sheet.text(
            10, (top + bottom) / 2, typeset.fit(y_title, LABEL, bottom - top), LABEL, MUTED, anchor="center", angle=90
        )
    sheet.grow(width, height)
    return PlotFrame(left, top, right_edge, bottom, along, up)


def ticks_below(sheet: Sheet, axis: Axis, y: float, room: float) -> None:
    """Draw an axis's base line, ticks and labels under a plotting area, leaving out labels that would touch."""
    sheet.line([axis.start, axis.stop], [y, y], MUTED, 0.8)
    free = -math.inf
    for value, label in axis.ticks(max(2, int((axis.stop - axis.start) / 70))):
        at = float(axis(value))
        sheet.line([at, at], [y, y + 3], MUTED, 0.8)
        half = typeset.width(label, LABEL) / 2
        middle = min(max(at, half), room - half)
        if middle - half > free + 6:
            sheet.text(middle, y + 15, label, LABEL, MUTED, anchor="center")
            free = middle + half
