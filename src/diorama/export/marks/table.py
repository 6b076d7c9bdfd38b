"""Rows of numbers, shares, texts, classes and small pictures."""

from __future__ import annotations

import numpy as np

from ...core.colour import BLUE, class_colour, magnitude
from ...core.marks import Column, Table
from .. import typeset
from ..cells import colour, pixels
from ..sheet import Sheet
from ..style import BOLD, HAIRLINE, INK, LABEL, MUTED, SOFT, WARN, Style, number, with_unit

PICTURE, ROW, GAP = 34.0, 18.0, 16.0


def draw(mark: Table, style: Style) -> Sheet:
    """A header and the first rows; numbers stand right, shares are bars, flagged rows have a mark at the left."""
    sheet = Sheet()
    total = mark.columns[0].rows() if mark.columns else 0
    count = min(total, style.rows)
    widths = _widths(mark, count, style)
    flags = 10.0 if mark.flagged is not None else 0.0
    high = PICTURE + 4 if any(c.kind == "image" for c in mark.columns) else ROW
    x = flags
    for column, wide in zip(mark.columns, widths, strict=True):
        right = column.kind == "number"
        arrow = (" ↓" if mark.descending else " ↑") if column.name == mark.sort else ""
        head = typeset.fit(column.name, LABEL, wide - typeset.width(arrow, LABEL, BOLD), BOLD) + arrow
        sheet.text(x + (wide if right else 0), 12, head, LABEL, MUTED, BOLD, "right" if right else "left")
        for row in range(count):
            _cell(sheet, column, row, x, 20 + row * high, wide, high, style)
        x += wide + GAP
    full = x - GAP if mark.columns else 0.0
    for row in range(count + 1):
        sheet.line([0, full], [18 + row * high] * 2, HAIRLINE, 0.7)
    for row in range(count):
        if mark.flagged is not None and mark.flagged[row]:
            sheet.rect(0, 21 + row * high, 3, high - 6, fill=WARN)
    sheet.grow(full, 20 + count * high)
    if count < total:
        y = sheet.height + 2
        words = f"the first {count:,} of {total:,} rows; .json and .npz hold all of them"
        sheet.grow(sheet.text(0, y + 11, words, LABEL, MUTED), y + 14)
    return sheet


def _said(column: Column, row: int) -> str:
    if column.kind == "share":
        value = float(column.numbers[row]) if column.numbers is not None else float("nan")
        return "NaN" if np.isnan(value) else f"{value * 100:.1f} %"
    if column.kind == "number":
        return with_unit(number(float(column.numbers[row])), column.unit) if column.numbers is not None else ""
    if column.texts:
        return typeset.visible(column.texts[row])
    return number(float(column.numbers[row])) if column.numbers is not None else ""


def _widths(mark: Table, count: int, style: Style) -> list[float]:
    wanted = []
    for column in mark.columns:
        head = typeset.width(column.name + " ↓" * (column.name == mark.sort), LABEL, BOLD)
        if column.kind == "image":
            wanted.append(max(PICTURE * _ratio(column), min(head, 90.0)))
            continue
        said = max((typeset.width(_said(column, row), LABEL) for row in range(count)), default=0.0)
        extra = {"share": 58.0, "class": 14.0}.get(column.kind, 0.0)
        wanted.append(max(min(said, 320.0) + extra, min(head, 130.0)))
    over = sum(wanted) + GAP * (len(wanted) - 1) + 10 - style.width
    texts = [i for i, c in enumerate(mark.columns) if c.kind in ("text", "class")]
    while over > 0 and texts:
        widest = max(texts, key=lambda i: wanted[i])
        cut = min(over, max(0.0, wanted[widest] - 60.0))
        if cut <= 0:
            break
        wanted[widest] -= min(cut, 10.0)
        over -= min(cut, 10.0)
    return wanted


def _ratio(column: Column) -> float:
    if column.images is None or not len(column.images):
        return 1.0
    return column.images.shape[2] / max(1, column.images.shape[1])


def _cell(sheet: Sheet, column: Column, row: int, x: float, y: float, wide: float, high: float, style: Style) -> None:
    base = y + high / 2 + 2
    if column.kind == "image" and column.images is not None:
        image = column.images[row]
        tall = style.snap(PICTURE, image.shape[0], PICTURE)
        cells = (
            pixels(image) if image.ndim == 3 else colour(image, column.limits or magnitude(column.images, scale="grey"))
        )
        sheet.raster(x, y, tall * _ratio(column), tall, cells)
        return
    words = typeset.fit(_said(column, row), LABEL, wide - (14 if column.kind == "class" else 0))
    if column.kind == "number":
        sheet.text(x + wide, base, words, LABEL, INK, anchor="right")
    elif column.kind == "share":
        value = float(column.numbers[row]) if column.numbers is not None else 0.0
        sheet.rect(x, base - 8, 52, 8, fill=SOFT)
        sheet.rect(x, base - 8, 52 * float(np.clip(np.nan_to_num(value), 0, 1)), 8, fill=BLUE)
        sheet.text(x + 58, base, words, LABEL, INK)
    elif column.kind == "class":
        if column.numbers is not None and column.numbers[row] >= 0:
            sheet.dots(np.array([[x + 4.0, base - 4.0]]), 3.6, class_colour(int(column.numbers[row])))
        sheet.text(x + 13, base, words, LABEL, INK)
    else:
        sheet.text(x, base, words, LABEL, INK)
