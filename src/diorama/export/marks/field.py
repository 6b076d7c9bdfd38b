"""A plane of outputs with points on it."""

from __future__ import annotations

import numpy as np

from ...core.colour import CLASSES, Limits
from ...core.marks import Field
from ..axes import Axis, PlotFrame, frame
from ..cells import Cells, bytes_of, colour, table
from ..legend import class_dots, legend
from ..sheet import Sheet
from ..style import ACCENT, INK, LABEL, MUTED, PAPER, Style


def regions(values: np.ndarray) -> Cells:
    """Class probabilities (height, width, classes) as the likeliest class's colour, as strong as it is sure."""
    count = values.shape[2]
    nan = np.isnan(values).any(-1)
    clean = np.nan_to_num(values)
    best = clean.argmax(-1)
    even = 1 / max(count, 2)
    sure = np.clip((clean.max(-1) - even) / (1 - even), 0, 1)[..., None]
    inks = np.stack([bytes_of(CLASSES[k % len(CLASSES)]) for k in range(count)]).astype(np.float32)
    # Nothing is known where all classes are alike: that is the paper.
    share = 0.12 * np.minimum(1, 20 * sure) + 0.5 * sure
    mixed = bytes_of(PAPER) * (1 - share) + inks[best] * share
    mixed[nan] = bytes_of(PAPER)
    return Cells(np.rint(mixed).astype(np.uint8), nan if nan.any() else None)


PALE = 0.35
"""What is left of the colours where a plane says little; as in the page."""


def pale(cells: Cells) -> Cells:
    """The same colours mixed into the paper."""
    paper = bytes_of(PAPER).astype(np.float32)
    return Cells(np.rint(paper + PALE * (cells.colours[..., :3] - paper)).astype(np.uint8), cells.nan, cells.clipped)


def draw(mark: Field, style: Style) -> Sheet:
    """The plane in its own proportions, points by class; wrong ones are crossed."""
    sheet = Sheet()
    x_low, x_high, y_low, y_high = mark.extent
    inner = min(float(mark.size), style.width - 70)
    tall = inner * float(np.clip((y_high - y_low) / ((x_high - x_low) or 1.0), 0.4, 1.6))
    cells = regions(mark.values) if mark.values.ndim == 3 else colour(mark.values, mark.limits)  # type: ignore[arg-type]
    if mark.faded:
        cells = pale(cells)
    base = Sheet()
    plot = frame(
        base, inner + 58, tall + 22 + 14 * bool(mark.x_title),
        lambda start, stop: Axis(x_low, x_high, start, stop), lambda start, stop: Axis(y_low, y_high, start, stop),
        mark.x_title, mark.y_title, grid=False,
    )
    flip = [None if a is None else a[::-1] for a in (cells.colours, cells.nan, cells.clipped)]
    sheet.raster(plot.left, plot.top, plot.right - plot.left, plot.bottom - plot.top, Cells(*flip))  # type: ignore[arg-type]
    sheet.place(base, 0, 0)
    if mark.outline is not None:
        for x0, y0, x1, y1 in np.asarray(mark.outline, float):
            ends = plot.x(np.array([x0, x1])), plot.y(np.array([y0, y1]))
            for ink, width in ((PAPER, 3.5), (INK, 1.8)):
                sheet.line(*ends, ink, width, clip=plot.clip)
    if mark.points is not None:
        if mark.joined:
            for ink, width in ((PAPER, 2.6), (INK, 1.0)):
                sheet.line(plot.x(mark.points[:, 0]), plot.y(mark.points[:, 1]), ink, width, clip=plot.clip)
        _points(sheet, mark, plot.x(mark.points[:, 0]), plot.y(mark.points[:, 1]), plot.clip)
    _drawn(sheet, mark, plot)
    y = sheet.height + 4
    if mark.values.ndim == 2 and mark.limits is not None:
        sheet.place(legend(mark.limits, style), 0, y)
    elif mark.classes:
        sheet.place(class_dots(mark.classes, style, max(sheet.width, min(style.width, 320))), 0, y)
    _said(sheet, mark, cells)
    return sheet


def _points(sheet: Sheet, mark: Field, x: np.ndarray, y: np.ndarray, clip: tuple[float, float, float, float]) -> None:
    inside = (x >= clip[0]) & (x <= clip[2]) & (y >= clip[1]) & (y <= clip[3])
    points = np.column_stack([x, y])
    radius = 1.5 if mark.small else 3.0 if len(points) <= 600 else 2.0
    for ink, members in _inks(mark, len(points)):
        sheet.dots(points[members & inside], radius, ink, INK if _ground(mark) else PAPER, 0.6)
    if mark.wrong is not None:
        for px, py in points[mark.wrong.astype(bool) & inside]:
            reach = radius + 1.5
            sheet.line([px - reach, px + reach], [py - reach, py + reach], INK, 1.0)
            sheet.line([px - reach, px + reach], [py + reach, py - reach], INK, 1.0)


def _ground(mark: Field) -> bool:
    """Whether points have the colours of the ground they lie on, where a rim of paper could not be told from it."""
    return mark.point_values is not None and mark.values.ndim == 2 and mark.limits is not None


def _drawn(sheet: Sheet, mark: Field, plot: PlotFrame) -> None:
    """The place or the line that was put by hand over the plane, where there is one."""
    if mark.handle is None or mark.handle.kind not in ("path", "point") or not mark.handle.value:
        return
    if mark.handle.kind == "point":
        x, y = (float(number) for number in mark.handle.value.split(","))
        at_x, at_y = float(plot.x(x)), float(plot.y(y))
        for ink, width in ((PAPER, 4.0), (ACCENT, 2.0)):
            sheet.line([at_x - 8, at_x + 8], [at_y, at_y], ink, width, clip=plot.clip)
            sheet.line([at_x, at_x], [at_y - 8, at_y + 8], ink, width, clip=plot.clip)
        return
    places = np.array([[float(number) for number in part.split(",")] for part in mark.handle.value.split(";") if part])
    sheet.line(plot.x(places[:, 0]), plot.y(places[:, 1]), ACCENT, 1.8, clip=plot.clip)


def _inks(mark: Field, count: int) -> list[tuple[str, np.ndarray]]:
    if mark.point_values is None:
        return [(INK, np.ones(count, bool))]
    values = np.asarray(mark.point_values, float)
    if mark.values.ndim == 3 or mark.limits is None:
        return [(CLASSES[int(k) % len(CLASSES)], values == k) for k in np.unique(values[np.isfinite(values)])]
    return _through(values, mark.limits)


def _through(values: np.ndarray, limits: Limits) -> list[tuple[str, np.ndarray]]:
    """Points by the colour of their value, in 32 steps."""
    colours = table(limits.scale)
    level = np.clip(np.nan_to_num((values - limits.low) / ((limits.high - limits.low) or 1.0)), 0, 1)
    step = np.rint(level * 31).astype(int)
    found = []
    for k in np.unique(step):
        red, green, blue = colours[round(k / 31 * (len(colours) - 1))]
        found.append((f"#{red:02x}{green:02x}{blue:02x}", step == k))
    return found


def _said(sheet: Sheet, mark: Field, cells: Cells) -> None:
    said = []
    if mark.wrong is not None:
        said.append(f"× {int(mark.wrong.sum()):,} of {len(mark.wrong):,} wrong")
    if mark.values.ndim == 3 and cells.nan is not None:
        said.append(f"{int(cells.nan.sum()):,} NaN, hatched")
    if said:
        y = sheet.height + 2
        sheet.grow(sheet.text(0, y + 11, " · ".join(said), LABEL, MUTED), y + 14)
