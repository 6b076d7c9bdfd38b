"""Rows of numbers, shares, texts, classes, small pictures and small histories."""

from __future__ import annotations

import re

import numpy as np

from ...core.colour import BLUE, class_colour, magnitude
from ...core.marks import Column, Table
from .. import typeset
from ..cells import colour, pixels
from ..sheet import Sheet
from ..style import ACCENT, BAD, BOLD, HAIRLINE, INK, LABEL, MUTED, PLAIN, SOFT, WARN, Style, number, with_unit

PICTURE, ROW, GAP = 34.0, 18.0, 16.0
HISTORY, TALL = 46.0, 13.0
SHORT = 110.0
"""A text no wider than this is never cut: a table of many columns is rather a little wider than its place."""
LINE, LONG = 13.0, 12
"""How high a line of a text of several is, and how many are drawn: a text may be a whole page."""
OUTSIDE = {-1: "↓ ", 1: "↑ ", 2: ""}
"""What tells a cell outside the healthy range without its colour."""


def draw(mark: Table, style: Style) -> Sheet:
    """A header and the first rows; numbers stand right, shares are bars, flagged rows have a mark at the left."""
    sheet = Sheet()
    total = mark.columns[0].rows() if mark.columns else 0
    rows = order(mark)[: style.rows]
    count = len(rows)
    widths = _widths(mark, rows, style)
    flags = 10.0 if mark.flagged is not None else 0.0
    high = PICTURE + 4 if any(c.kind == "image" for c in mark.columns) else ROW
    tall = [max([high, *(LINE * len(_lines(c, row, w)) + ROW - LINE for c, w in zip(mark.columns, widths, strict=True))]) for row in rows]
    top = [20 + sum(tall[:place]) for place in range(count + 1)]
    x = flags
    for column, wide in zip(mark.columns, widths, strict=True):
        right = column.kind in ("number", "history")
        arrow = (" ↓" if mark.descending else " ↑") if column.name == mark.sort else ""
        head = typeset.fit(column.name, LABEL, wide - typeset.width(arrow, LABEL, BOLD), BOLD) + arrow
        sheet.text(x + (wide if right else 0), 12, head, LABEL, MUTED, BOLD, "right" if right else "left")
        for place, row in enumerate(rows):
            if column.kind == "history":
                _history(sheet, mark, column, row, x, top[place], wide, tall[place])
            else:
                _cell(sheet, column, row, x, top[place], wide, tall[place], style)
        x += wide + GAP
    full = x - GAP if mark.columns else 0.0
    for y in top:
        sheet.line([0, full], [y - 2] * 2, HAIRLINE, 0.7)
    for place, row in enumerate(rows):
        if mark.flagged is not None and mark.flagged[row]:
            sheet.rect(0, top[place] + 1, 3, tall[place] - 6, fill=WARN)
    sheet.grow(full, top[-1])
    if count < total:
        y = sheet.height + 2
        words = f"the first {count:,} of {total:,} rows; .json and .npz hold all of them"
        sheet.grow(sheet.text(0, y + 11, words, LABEL, MUTED), y + 14)
    return sheet


def order(mark: Table) -> list[int]:
    """The rows in the order in which the mark comes sorted, as the page has them; NaN always comes last."""
    column = next((each for each in mark.columns if each.name == mark.sort), None)
    rows = list(range(mark.columns[0].rows() if mark.columns else 0))
    if column is None or column.kind == "image":
        return rows
    if column.kind == "text":
        # Numbers within a text count as numbers: unit 10 comes after unit 9.
        parts = [[int(part) if k % 2 else part for k, part in enumerate(re.split(r"([0-9]+)", text.casefold()))] for text in column.texts]
        return sorted(rows, key=parts.__getitem__, reverse=mark.descending)
    values = [float("nan")] * len(rows) if column.numbers is None else [float(value) for value in column.numbers]
    missing = [row for row in rows if np.isnan(values[row])]
    return sorted((row for row in rows if not np.isnan(values[row])), key=values.__getitem__, reverse=mark.descending) + missing


def _said(column: Column, row: int) -> str:
    if column.kind == "share":
        value = float(column.numbers[row]) if column.numbers is not None else float("nan")
        return "NaN" if np.isnan(value) else f"{value * 100:.1f} %"
    if column.kind in ("number", "history"):
        strange = 0 if column.outside is None else int(column.outside[row])
        if column.kind == "history" and column.numbers is not None and np.isnan(column.numbers[row]) and strange != 2:
            return ""
        sign = OUTSIDE.get(strange, "")
        return sign + with_unit(number(float(column.numbers[row])), column.unit) if column.numbers is not None else ""
    if column.texts:
        return typeset.visible(column.texts[row])
    return number(float(column.numbers[row])) if column.numbers is not None else ""


def _lines(column: Column, row: int, wide: float) -> list[str]:
    """A cell's text as it stands: words that do not fit go on in further lines, as a sentence or a rule cut short says something else."""
    said = _said(column, row)
    if column.kind != "text" or " " not in said or wide < SHORT or typeset.width(said, LABEL) <= wide:
        return [typeset.fit(said, LABEL, wide)]
    lines = typeset.wrap(said, LABEL, wide)
    return lines if len(lines) <= LONG else [*lines[: LONG - 1], typeset.fit(" ".join(lines[LONG - 1 :]), LABEL, wide)]


def _widths(mark: Table, rows: list[int], style: Style) -> list[float]:
    wanted = []
    for column in mark.columns:
        head = typeset.width(column.name + " ↓" * (column.name == mark.sort), LABEL, BOLD)
        if column.kind == "image":
            wanted.append(max(PICTURE * _ratio(column), min(head, 90.0)))
            continue
        said = max((typeset.width(_said(column, row), LABEL) for row in rows), default=0.0)
        extra = {"share": 58.0, "class": 14.0, "history": HISTORY + 12}.get(column.kind, 0.0)
        wanted.append(max(min(said, 320.0) + extra, min(head, 130.0)))
    over = sum(wanted) + GAP * (len(wanted) - 1) + 10 - style.width
    texts = [i for i, c in enumerate(mark.columns) if c.kind in ("text", "class")]
    while over > 0 and texts:
        widest = max(texts, key=lambda i: wanted[i])
        cut = min(over, max(0.0, wanted[widest] - SHORT))
        if cut <= 0:
            break
        wanted[widest] -= min(cut, 10.0)
        over -= min(cut, 10.0)
    return wanted


def _ratio(column: Column) -> float:
    if column.images is None or not len(column.images):
        return 1.0
    return float(column.images.shape[2] / max(1, column.images.shape[1]))


def _history(
    sheet: Sheet, mark: Table, column: Column, row: int, x: float, y: float, wide: float, high: float
) -> None:
    """The healthy range as a band, the line over it, red where it leaves the range, and the number of now."""
    base, strange = y + high / 2 + 2, 0 if column.outside is None else int(column.outside[row])
    if strange:
        sheet.rect(x - 4, y - 1, wide + 8, high - 2, fill=BAD, alpha=0.12)
    colour = BAD if strange else INK
    sheet.text(x + wide, base, _said(column, row), LABEL, colour, BOLD if strange else PLAIN, "right")
    if mark.steps is None or column.histories is None or len(mark.steps) < 2:
        return
    bottom, top = column.span()
    first, last = float(mark.steps[0]), float(mark.steps[-1])
    across = x + HISTORY * (mark.steps - first) / max(last - first, 1e-12)

    def up(values: np.ndarray) -> np.ndarray:
        low, high_ = (np.log10([bottom, top])) if column.log else (bottom, top)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = ((np.log10(values) if column.log else values) - low) / (high_ - low)
        return base + 2 - TALL * np.where(np.isnan(share), np.nan, np.clip(share, 0, 1))

    line = np.asarray(column.histories[row], float)
    known = np.isfinite(line)
    if column.healthy is not None and known.any():
        ends = np.asarray(column.healthy[row], float)
        band = np.column_stack([np.append(across, across[::-1]), np.append(up(ends[:, 0]), up(ends[::-1, 1]))])
        sheet.area(band[np.isfinite(band).all(1)], SOFT)
    sheet.line(across, up(line), MUTED, 0.9)
    if column.healthy is not None:
        low, high_ = (line, line) if column.spreads is None else (column.spreads[row, :, 0], column.spreads[row, :, 1])
        bad = known & ((low < column.healthy[row, :, 0]) | (high_ > column.healthy[row, :, 1]))
        sheet.dots(np.column_stack([across, up(line)])[bad], 1.3, BAD)
    if mark.cursor is not None and first <= mark.cursor <= last:
        at = x + HISTORY * (mark.cursor - first) / max(last - first, 1e-12)
        sheet.line([at, at], [base + 2 - TALL, base + 2], ACCENT, 0.8)


def _cell(sheet: Sheet, column: Column, row: int, x: float, y: float, wide: float, high: float, style: Style) -> None:
    base = y + high / 2 + 2
    if column.kind == "image" and column.images is not None:
        image = column.images[row]
        tall = style.snap(PICTURE, image.shape[0], PICTURE)
        cells = (
            pixels(image) if image.ndim == 3 else colour(image, column.limits or magnitude(column.images, scale="grey"))
        )
        sheet.raster(x, y + (high - PICTURE - 4) / 2, tall * _ratio(column), tall, cells)
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
        lines = _lines(column, row, wide)
        for place, line in enumerate(lines):
            sheet.text(x, base + LINE * (place - (len(lines) - 1) / 2), line, LABEL, INK)
