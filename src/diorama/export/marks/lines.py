"""Series over steps, time or another number, with bands and events."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ...core.colour import INFINITE, class_colour
from ...core.marks import Event, Lines, Series
from .. import typeset
from ..axes import Axis, PlotFrame, frame
from ..legend import BAND, swatches
from ..sheet import Sheet
from ..style import ACCENT, HAIRLINE, LABEL, MUTED, TINY, WARN, Style

DASHES = ((), (5.0, 2.5), (1.5, 2.0), (7.0, 2.0, 1.5, 2.0))
NAMES_AT_END, EVENT_ROWS = 6, 3


def draw(mark: Lines, style: Style) -> Sheet:
    """Lines with their envelopes; names at their ends where they fit, else below; NaN breaks a line and is counted."""
    sheet = Sheet()
    names = _end_names(mark, style.width)
    plot = _framed(sheet, mark, style, names)
    _events(sheet, mark, plot)
    groups = list(dict.fromkeys(s.group for s in mark.series))
    for series in sorted(mark.series, key=lambda s: (not s.band, not s.faint)):
        _series(sheet, series, plot, DASHES[groups.index(series.group) % len(DASHES)])
    if mark.cursor is not None:
        at = float(plot.x(mark.cursor))
        if plot.left - 1 <= at <= plot.right + 1:
            sheet.line([at, at], [plot.top, plot.bottom], ACCENT, 1.4)
    if names:
        _names(sheet, mark, plot, names)
    below = _below(mark, style, names, groups)
    if below.width:
        sheet.place(below, 0, sheet.height + 4)
    return sheet


def beside(mark: Lines, style: Style) -> tuple[float, float]:
    """The room left and right of the plotting area."""
    plot = _framed(Sheet(), mark, style, _end_names(mark, style.width))
    return plot.left, style.width - plot.right


def _framed(sheet: Sheet, mark: Lines, style: Style, names: list[str]) -> PlotFrame:
    width = style.width
    least, right = style.beside
    right = max(right, max((typeset.width(name, LABEL) for name in names), default=0.0) + (14 if names else 10))
    x_low, x_high = mark.x_span()
    top = 4.0 + _event_rows(mark, Axis(x_low, x_high, 60, width - right, mark.x_log), width) * 13.0
    y_low, y_high = mark.y_span()
    return frame(
        sheet, width, top + max(60.0, mark.height) + 20,
        lambda start, stop: Axis(x_low, x_high, start, stop, mark.x_log, mark.x_kind == "time", _whole(mark)),
        lambda start, stop: Axis(y_low, y_high, start, stop, mark.y_log, bare=not mark.y_ticks),
        "time" if (mark.x_kind, mark.x_title) == ("time", "step") else mark.x_title, mark.y_title, top=top, right=right, left=least,
    )


def _whole(mark: Lines) -> bool:
    """Steps, and numbers of which every one is whole, have no ticks between them."""
    return mark.x_kind == "step" or (mark.x_kind == "number" and all(bool((s.x % 1 == 0).all()) for s in mark.series))


def _title(series: Series) -> str:
    return f"{series.name} · {series.group}" if series.group else series.name


def _named(mark: Lines) -> list[Series]:
    """The series that need a name: a faint line or a band beside its own line needs none."""
    strong = [s for s in mark.series if not s.faint and not s.band]
    known = {(s.name, s.group, s.colour) for s in strong}
    return strong + [s for s in mark.series if (s.faint or s.band) and (s.name, s.group, s.colour) not in known]


def _end_names(mark: Lines, width: float) -> list[str]:
    """Names written at the lines' ends: only when few and short, and the plot is wide enough."""
    named = _named(mark)
    if not 1 < len(named) <= NAMES_AT_END or any(s.band for s in named) or len(named) * 13 > mark.height:
        return []
    names = [_title(s) for s in named]
    return names if max(typeset.width(name, LABEL) for name in names) <= width * 0.22 else []


def _names(sheet: Sheet, mark: Lines, plot: PlotFrame, names: list[str]) -> None:
    spots = []
    for name, series in zip(names, _named(mark), strict=True):
        at = plot.y(series.y)
        good = np.flatnonzero(np.isfinite(at))
        wanted = float(np.clip(at[good[-1]], plot.top, plot.bottom)) if len(good) else plot.bottom
        spots.append((wanted, name, class_colour(series.colour), (2.4, 1.2) if series.dash else ()))
    spots.sort()
    heights = [spot[0] for spot in spots]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + 13)
    heights[-1] = min(heights[-1], plot.bottom)
    for index in range(len(heights) - 2, -1, -1):
        heights[index] = min(heights[index], heights[index + 1] - 13)
    for y, (_, name, colour, dash) in zip(heights, spots, strict=True):
        sheet.line([plot.right + 3, plot.right + 9], [y, y], colour, 2.2, dash=dash)
        sheet.text(plot.right + 12, y + 4, name, LABEL, MUTED)


def _series(sheet: Sheet, series: Series, plot: PlotFrame, dash: tuple[float, ...]) -> None:
    colour = class_colour(series.colour)
    x = plot.x(series.x)
    if series.low is not None and series.high is not None:
        low, high = plot.y(series.low), plot.y(series.high)
        low = np.where(np.isnan(low) & np.isfinite(high), plot.bottom, low)
        for run in _runs(np.isfinite(low) & np.isfinite(high) & np.isfinite(x)):
            points = np.vstack([np.column_stack([x[run], low[run]]), np.column_stack([x[run], high[run]])[::-1]])
            sheet.area(points, colour, BAND, clip=plot.clip)
    if series.band:
        return
    y = plot.y(series.y)
    infinite = np.isinf(series.y)
    alpha, width = (0.35, 0.8) if series.faint else (1.0, 1.5)
    dash = (4.0, 2.5) if series.dash else dash
    sheet.line(x, np.where(infinite, np.nan, y), colour, width, alpha, dash, plot.clip)
    good = np.isfinite(y) & np.isfinite(x)
    lone = good & ~np.r_[False, good[:-1]] & ~np.r_[good[1:], False]
    if lone.any():
        sheet.dots(np.column_stack([x[lone], np.clip(y[lone], plot.top, plot.bottom)]), 2.0, colour)
    for at in x[infinite & np.isfinite(x)]:
        sheet.line([at, at], [plot.top, plot.top + 6], INFINITE, 1.6)


def _runs(good: np.ndarray) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.r_[False, good, False].astype(np.int8)))
    return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _label_spots(mark: Lines, axis: Axis, width: float) -> list[tuple[Event, str, float, int]]:
    """Each event's label, its left edge and its line above the plot; a label that finds no room is left out."""
    free = [-math.inf] * EVENT_ROWS
    found = []
    for event in sorted(mark.events, key=lambda e: e.x):
        word = typeset.fit(event.label, TINY, 160)
        at = float(axis(event.x))
        if not word or not axis.start - 1 <= at <= axis.stop + 1:
            continue
        long = typeset.width(word, TINY)
        start = min(max(0.0, at - long / 2), width - long)
        row = next((r for r, edge in enumerate(free) if start > edge + 6), None)
        if row is not None:
            free[row] = start + long
            found.append((event, word, start, row))
    return found


def _event_rows(mark: Lines, axis: Axis, width: float) -> int:
    """How many lines of labels stand above the plot (the axis is nearly the final one)."""
    rows = max((row + 1 for *_, row in _label_spots(mark, axis, width)), default=0)
    return min(EVENT_ROWS, rows + 1) if 0 < rows < EVENT_ROWS and len(mark.events) > 3 else rows


def _events(sheet: Sheet, mark: Lines, plot: PlotFrame) -> None:
    for event in mark.events:
        at = float(plot.x(event.x))
        if not plot.left - 1 <= at <= plot.right + 1:
            continue
        if event.kind == "gap":
            end = min(float(plot.x(event.end if event.end is not None else event.x)), plot.right)
            sheet.rect(at, plot.top, max(1.0, end - at), plot.bottom - plot.top, fill=HAIRLINE, alpha=0.7)
        else:
            sheet.line(
                [at, at], [plot.top, plot.bottom], WARN if event.kind == "finding" else MUTED, 1.0, dash=(1.5, 2.5)
            )
    for event, word, start, row in _label_spots(mark, plot.x, sheet.width):
        if plot.top - 4 - 13 * row > 8:
            sheet.text(start, plot.top - 4 - 13 * row, word, TINY, WARN if event.kind == "finding" else MUTED)


def _below(mark: Lines, style: Style, names: list[str], groups: list[str]) -> Sheet:
    entries: list[tuple[str, str, bool | Literal["band"]]] = []
    if not names and (len(mark.series) > 1 or any(s.group for s in mark.series)):
        for series in _named(mark):
            dashed = series.dash or groups.index(series.group) % len(DASHES) > 0
            entries.append((_title(series), class_colour(series.colour), "band" if series.band else dashed))
    nan = sum(int(np.isnan(s.y).sum()) for s in mark.series if not s.band)
    infinite = sum(int(np.isinf(s.y).sum()) for s in mark.series if not s.band)
    sheet = swatches(entries, style, style.width)
    said = [f"{nan:,} NaN, left out" if nan else "", f"{infinite:,} infinite, marked at the top" if infinite else ""]
    if mark.y_log:
        hidden = sum(int((s.y <= 0).sum()) for s in mark.series if not s.band)
        said.append(f"{hidden:,} not above zero, left out of the log axis" if hidden else "")
    if any(said):
        y = sheet.height + (2 if sheet.height else 0)
        for line in typeset.wrap(" · ".join(filter(None, said)), LABEL, style.width):
            sheet.grow(sheet.text(0, y + 11, line, LABEL, MUTED), y + 14)
            y += 14
    return sheet
