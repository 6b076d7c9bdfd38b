"""What a picture's colours mean, and how many cells could not be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..core.colour import INFINITE, NAN_INK, Limits, class_colour
from . import typeset
from .cells import Cells, table
from .sheet import Sheet
from .style import HAIRLINE, INK, LABEL, MUTED, Style, short, with_unit

BAND = 0.18
"""How much of its colour a band has."""


def needed(limits: Limits) -> bool:
    """Whether colours need explaining: a grey picture whose pixels can all be shown speaks for itself."""
    return limits.scale != "grey" or bool(limits.nan or limits.infinite or limits.clipped)


def legend(limits: Limits, style: Style, *, width: float = 120.0, title: str = "") -> Sheet:
    """The colour bar with its ends, zero, unit, and counts of NaN, infinite and clipped cells."""
    pieces = [_bar(limits, style, width, title)]
    if limits.nan:
        pieces.append(_sign("nan", f"{limits.nan:,} NaN"))
    if limits.infinite:
        pieces.append(_sign("infinite", f"{limits.infinite:,} infinite"))
    if limits.clipped:
        pieces.append(_sign("clipped", f"{limits.clipped:,} clipped"))
    return flow(pieces, style.width)


def flow(pieces: Sequence[Sheet], room: float, gap: float = 14.0, line: float = 4.0) -> Sheet:
    """Sheets in a line, broken where the room ends."""
    sheet = Sheet()
    x = y = high = 0.0
    for piece in pieces:
        if x and x + piece.width > room:
            x, y, high = 0.0, y + high + line, 0.0
        sheet.place(piece, x, y)
        x, high = x + piece.width + gap, max(high, piece.height)
    return sheet


def _bar(limits: Limits, style: Style, width: float, title: str) -> Sheet:
    sheet = Sheet(0, 14)
    x = 0.0
    if title:
        x += sheet.text(0, 11, typeset.fit(title, LABEL, style.width * 0.5), LABEL, MUTED) + 8
    low, high = short(limits.low), with_unit(short(limits.high), limits.unit)
    x += sheet.text(x, 11, low, LABEL, MUTED) + 5
    width = min(width, max(40.0, style.width - x - typeset.width(high, LABEL) - 5))
    sheet.raster(x, 3, width, 8, Cells(table(limits.scale)[None, :, :]))
    sheet.rect(x, 3, width, 8, stroke=HAIRLINE, line=0.6)
    if limits.scale == "diverging":
        sheet.line([x + width / 2] * 2, [2, 12], MUTED, 0.8)
    x += width + 5
    x += sheet.text(x, 11, high, LABEL, MUTED)
    sheet.grow(x, 14)
    return sheet


def _sign(kind: str, words: str) -> Sheet:
    sheet = Sheet(0, 14)
    if kind == "nan":
        cell = Cells(np.full((1, 1, 3), 255, np.uint8), nan=np.ones((1, 1), bool))
        sheet.raster(0, 2, 10, 10, cell)
        sheet.rect(0, 2, 10, 10, stroke=NAN_INK, line=0.6)
    elif kind == "infinite":
        sheet.rect(0, 2, 10, 10, fill=INFINITE)
    else:
        sheet.rect(0, 2, 10, 10, fill=HAIRLINE)
        sheet.area(np.array([[6.0, 2.0], [10.0, 2.0], [10.0, 6.0]]), INK)
    sheet.grow(14 + sheet.text(14, 11, words, LABEL, MUTED), 14)
    return sheet


def swatches(entries: Sequence[tuple[str, str, bool | Literal["band"]]], style: Style, room: float) -> Sheet:
    """Names with their colours (name, '#rrggbb', whether dashed or a band), as short lines; wraps to the room."""
    pieces = []
    for name, colour, look in entries:
        piece = Sheet(0, 14)
        if look == "band":
            piece.area(np.array([[0.0, 2.0], [14.0, 2.0], [14.0, 12.0], [0.0, 12.0]]), colour, BAND)
        else:
            piece.line([0, 14], [7, 7], colour, 2.2, dash=(4, 2) if look else ())
        piece.grow(18 + piece.text(18, 11, typeset.fit(name, LABEL, room - 18), LABEL, MUTED), 14)
        pieces.append(piece)
    return flow(pieces, room)


def class_dots(names: Sequence[str], style: Style, room: float, most: int = 24) -> Sheet:
    """Class names with their colours as dots; beyond ``most`` the rest is counted."""
    pieces = []
    for index, name in enumerate(names[:most]):
        piece = Sheet(0, 14)
        piece.dots(np.array([[5.0, 7.0]]), 4, class_colour(index))
        piece.grow(13 + piece.text(13, 11, typeset.fit(name, LABEL, room - 13), LABEL, MUTED), 14)
        pieces.append(piece)
    if len(names) > most:
        piece = Sheet(0, 14)
        piece.grow(piece.text(0, 11, f"and {len(names) - most:,} more; the ten colours repeat", LABEL, MUTED), 14)
        pieces.append(piece)
    return flow(pieces, room)
