"""A labelled matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.marks import Heatmap
from .. import typeset
from ..cells import colour
from ..legend import legend
from ..sheet import Sheet
from ..style import INK, LABEL, MUTED, PAPER, TINY, Style, number

MOST_LABEL = 130.0


def draw(mark: Heatmap, style: Style) -> Sheet:
    """Cells of one size, rows labelled at the left and columns below; labels that would touch are left out evenly."""
    sheet = Sheet()
    rows, columns = mark.values.shape
    if not rows or not columns:
        return sheet
    left = _widest(mark.row_labels, TINY) + (5 if mark.row_labels else 0) + (16 if mark.row_title else 0)
    wide, high = _cell(mark, style, style.width - left)
    top = 0.0
    sheet.raster(left, top, wide * columns, high * rows, colour(mark.values, mark.limits))
    if mark.numbers or mark.cell_texts:
        _numbers(sheet, mark, left, top, wide, high)
    _rows(sheet, mark, left, top, high)
    y = _columns(sheet, mark, left, top + high * rows, wide)
    sheet.grow(left + wide * columns, y)
    words = legend(mark.limits, style)
    sheet.place(words, left if left + words.width <= style.width else 0, y + 6)
    return sheet


def _widest(labels: tuple[str, ...], size: float) -> float:
    return min(MOST_LABEL, max((typeset.width(label, size) for label in labels), default=0.0))


def _cell(mark: Heatmap, style: Style, room: float) -> tuple[float, float]:
    """The size of a cell: whole device pixels, wide enough for its number where numbers are asked for."""
    rows, columns = mark.values.shape
    high = max(3.0, float(mark.size))
    if rows * high > 900:
        high = max(1 / style.scale, 900 / rows)
    wide = high if mark.square or mark.column_labels else min(40.0, room / columns)
    if mark.numbers:
        wide = max(wide, max(typeset.width(number(float(v), 2), TINY) for v in mark.values.ravel()) + 6)
    if mark.column_labels and not mark.square:
        longest = _widest(mark.column_labels, TINY) + 6
        wide = max(wide, min(longest, room / columns, 60.0))
    if mark.cell_texts:
        wide = max(wide, min(48.0, room / columns))
    wide = min(wide, room / columns)
    if mark.square:
        wide = high = min(wide, high) if wide < high else max(wide, high) if mark.numbers else high
    unit = 1 / style.scale
    return max(unit, int(wide / unit + 1e-6) * unit), max(unit, round(high / unit) * unit)


def _numbers(sheet: Sheet, mark: Heatmap, left: float, top: float, wide: float, high: float) -> None:
    words = {(r, c): number(float(v), 2) for (r, c), v in np.ndenumerate(mark.values)}
    if mark.cell_texts:
        texts = zip(words, mark.cell_texts, strict=True)
        words = {place: typeset.fit(text, TINY, wide - 2) for place, text in texts}
    if high < TINY + 1 or max(typeset.width(word, TINY) for word in words.values()) > wide - 1:
        return
    cells = colour(mark.values, mark.limits)
    for (row, column), word in words.items():
        red, green, blue = cells.colours[row, column] / 255
        ink = PAPER if 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.25 else INK
        sheet.text(left + (column + 0.5) * wide, top + (row + 0.5) * high + 3.4, word, TINY, ink, anchor="center")


def named_rows(labels: Sequence[str], apart: float) -> list[tuple[str, float]]:
    """The names of rows and where they stand, in rows.

    One that would touch the one before is left out; where names are that close, neighbours of one name are named once, in
    their middle.
    """
    found: list[tuple[str, float]] = []
    row = 0
    while row < len(labels):
        end = row + 1
        while apart > 1 and end < len(labels) and labels[end] == labels[row]:
            end += 1
        if not found or (row + end) / 2 - found[-1][1] > apart - 1e-6:
            found.append((labels[row], (row + end) / 2))
        row = end
    return found


def _rows(sheet: Sheet, mark: Heatmap, left: float, top: float, high: float) -> None:
    for label, middle in named_rows(mark.row_labels, (TINY + 1.5) / high):
        word = typeset.fit(label, TINY, MOST_LABEL)
        sheet.text(left - 5, top + middle * high + 3.4, word, TINY, MUTED, anchor="right")
    if mark.row_title:
        room = high * mark.values.shape[0]
        word = typeset.fit(mark.row_title, LABEL, max(room, 60))
        middle = max(room / 2, typeset.width(word, LABEL) / 2)
        sheet.text(10, top + middle, word, LABEL, MUTED, anchor="center", angle=90)
        sheet.grow(0, top + 2 * middle if middle > room / 2 else 0)


def _columns(sheet: Sheet, mark: Heatmap, left: float, y: float, wide: float) -> float:
    """Write column labels, upright where they fit, else turned; return where they end."""
    if mark.column_labels:
        longest = _widest(mark.column_labels, TINY)
        if longest <= wide - 3:
            for column, label in enumerate(mark.column_labels):
                sheet.text(left + (column + 0.5) * wide, y + 12, label, TINY, MUTED, anchor="center")
            y += 15
        elif max(map(len, mark.column_labels)) <= 4:
            each = int(np.ceil((longest + 4) / wide))
            for column in range(0, len(mark.column_labels), each):
                sheet.text(
                    left + (column + 0.5) * wide, y + 12, mark.column_labels[column], TINY, MUTED, anchor="center"
                )
            y += 15
        else:
            each = max(1, int(np.ceil((TINY + 1.5) / wide)))
            for column in range(0, len(mark.column_labels), each):
                word = typeset.fit(mark.column_labels[column], TINY, MOST_LABEL)
                sheet.text(left + (column + 0.5) * wide + 3.2, y + 4, word, TINY, MUTED, anchor="right", angle=90)
            y += longest + 8
    if mark.column_title:
        across = mark.values.shape[1] * wide
        word = typeset.fit(mark.column_title, LABEL, max(across, 120))
        x = max(left + across / 2 - typeset.width(word, LABEL) / 2, 0)
        sheet.grow(x + sheet.text(x, y + 12, word, LABEL, MUTED), y + 16)
        y += 16
    return y
