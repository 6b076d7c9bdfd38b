"""One block of a network on paper: its name, what it is, its maps and its small curve."""

from __future__ import annotations

import numpy as np

from ...core.colour import Limits, magnitude
from ...core.marks import Block
from .. import typeset
from ..cells import colour
from ..sheet import Sheet
from ..style import HAIRLINE, INK, LABEL, MONO, MUTED, PAPER, TINY, WARN, Style

MOST_MAPS, MAP, PAD = 10, 20.0, 7.0


def card(block: Block, limits: Limits | None, style: Style, room: float, least: float = 84.0) -> Sheet:
    """A block as a card, as wide as its words need and no wider than the room."""
    inner = max(40.0, room - 2 * PAD - 6)
    rows = [_head(block, inner), _maps(block, style, inner), _wrapped(" · ".join(block.notes), TINY, MUTED, inner)]
    if block.warning:
        rows.append(_wrapped(block.warning, TINY, WARN, inner))
    rows = [row for row in rows if row.height]
    spark = _spark(block)
    wide = max(row.width for row in rows)
    if spark.width and rows[0].width + 12 + spark.width <= inner:
        wide = max(wide, rows[0].width + 12 + spark.width)
    elif spark.width:
        rows.append(spark)
    wide = max(wide + 2 * PAD + 6, min(least, room))
    high = sum(row.height for row in rows) + 3 * (len(rows) - 1) + 2 * PAD - 2
    sheet = Sheet(wide, high)
    sheet.rect(0, 0, wide, high, fill=PAPER, stroke=WARN if block.warning else HAIRLINE, line=1.1, radius=5)
    if block.value is not None and limits is not None:
        sheet.raster(3, 4, 5, high - 8, colour(np.array([[block.value]], float), limits))
        sheet.rect(3, 4, 5, high - 8, stroke=HAIRLINE, line=0.5)
    y = PAD - 1
    for row in rows:
        sheet.place(row, PAD + 5, y)
        y += row.height + 3
    if spark.width and spark not in rows:
        sheet.place(spark, wide - PAD - spark.width, PAD - 1)
    return sheet


def _head(block: Block, room: float) -> Sheet:
    sheet = Sheet(0, 14)
    x = 0.0
    if block.expandable and not block.open:
        x += sheet.text(0, 11, "+", LABEL, MUTED) + 4
    x += sheet.text(x, 11, typeset.fit(block.label, LABEL, room - x, MONO), LABEL, INK, MONO)
    said = " · ".join(dict.fromkeys(filter(None, [block.kind if block.kind != block.label else "", block.detail])))
    if said and x + 8 + typeset.width(said, TINY) <= room:
        x += 8 + sheet.text(x + 8, 11, said, TINY, MUTED)
        said = ""
    sheet.grow(x, 14)
    for line in typeset.wrap(said, TINY, room):
        y = sheet.height
        sheet.grow(sheet.text(0, y + 9, line, TINY, MUTED), y + 12)
    return sheet


def _wrapped(text: str, size: float, ink: str, room: float) -> Sheet:
    sheet = Sheet()
    for line in typeset.wrap(text, size, room):
        y = sheet.height
        sheet.grow(sheet.text(0, y + size - 0.5, line, size, ink), y + size + 2.5)
    return sheet


def _maps(block: Block, style: Style, room: float) -> Sheet:
    sheet = Sheet()
    if block.maps is None or not len(block.maps):
        return sheet
    limits = block.maps_limits or magnitude(block.maps)
    _, rows, columns = block.maps.shape
    if rows == 1 and len(block.maps) == 1:
        wide = style.snap(min(room, 200.0), columns, room)
        sheet.raster(0, 1, wide, 12, colour(block.maps[0], limits))
        sheet.grow(wide, 14)
        return sheet
    wide = style.snap(MAP, columns, room)
    high = wide * rows / columns
    count = min(len(block.maps), MOST_MAPS, max(1, int((room + 3) // (wide + 3))))
    for index in range(count):
        sheet.raster(index * (wide + 3), 1, wide, high, colour(block.maps[index], limits))
    sheet.grow(count * (wide + 3) - 3, high + 2)
    return sheet


def _spark(block: Block) -> Sheet:
    sheet = Sheet()
    if block.spark is None or np.isfinite(block.spark).sum() < 2:
        return sheet
    values = np.asarray(block.spark, float)
    low, high = np.nanmin(values[np.isfinite(values)]), np.nanmax(values[np.isfinite(values)])
    y = 12 - (np.where(np.isfinite(values), values, np.nan) - low) / ((high - low) or 1.0) * 10
    sheet.line(np.linspace(0, 60, len(values)), y, MUTED, 0.9)
    sheet.grow(60, 14)
    return sheet
