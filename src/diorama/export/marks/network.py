"""Nodes with pictures in them, joined by signed links."""

from __future__ import annotations

import numpy as np

from ...core.colour import BLUE, ORANGE, class_colour
from ...core.marks import Network, Vertex
from .. import typeset
from ..cells import Cells, colour
from ..legend import legend
from ..sheet import Sheet
from ..style import HAIRLINE, INK, MONO, MUTED, PAPER, Style

LABEL, SMALL = 11.0, 10.0
HEAD, NOTE, SIDE, LINE = 16.0, 13.0, 4.0, 13.0
"""What the label and the note of a box take of its height, its air to the sides, and a line of words; the page has the same."""


def draw(mark: Network, style: Style) -> Sheet:
    """Links below, nodes above them, the colours of the pictures' numbers below all."""
    drawn = Sheet(*mark.extent)
    assert mark.ends is not None  # the mark has made them
    for (x, y, to, down), strength, wide in zip(mark.ends.tolist(), mark.strengths.tolist(), mark.widths().tolist(), strict=True):
        middle = (x + to) / 2
        ink = BLUE if strength >= 0 else ORANGE
        straight = not any(vertex.form in ("box", "joint") for vertex in mark.vertices)
        bends = [(x, y), (x, y), (to, down), (to, down)] if straight else [(x, y), (middle, y), (middle, down), (to, down)]
        drawn.curve(bends, ink, wide)
    for vertex, place in zip(mark.vertices, mark.places.tolist(), strict=True):
        _vertex(drawn, mark, vertex, *place)
    scale = min(1.0, style.width / max(1.0, mark.extent[0]))
    sheet = Sheet()
    sheet.place(drawn.scaled(scale) if scale < 1 else drawn, 0, 0)
    if mark.limits is not None and any(vertex.pixels is not None and vertex.pixels.ndim == 2 for vertex in mark.vertices):
        sheet.place(legend(mark.limits, style), 0, sheet.height + 8)
    return sheet


def _vertex(sheet: Sheet, mark: Network, vertex: Vertex, x: float, y: float, width: float, height: float) -> None:
    if vertex.form == "heading":
        sheet.text(x + width / 2, y + 11, typeset.fit(vertex.label, LABEL, width, MONO), LABEL, INK, MONO, "center")
        sheet.text(x + width / 2, y + 24, typeset.fit(vertex.note, SMALL, width), SMALL, MUTED, anchor="center")
        return
    if vertex.form == "dot":
        ink = vertex.ink or (MUTED if vertex.colour is None else class_colour(vertex.colour))
        sheet.dots(np.array([[x + width / 2, y + height / 2]]), width / 2, ink, PAPER)
        return
    if vertex.form == "joint":
        _joint(sheet, vertex, x, y, width, height)
        return
    sheet.rect(x, y, width, height, fill=PAPER, stroke=HAIRLINE, line=1.0, radius=4)
    if vertex.colour is not None:
        sheet.rect(x, y, 3, height, fill=class_colour(vertex.colour))
    room = width - 2 * SIDE
    if vertex.label:
        sheet.text(x + SIDE + 2, y + 12, typeset.fit(vertex.label, LABEL, room), LABEL, INK)
    foot = y + height - (NOTE if vertex.note else 0)
    if vertex.note:
        sheet.text(x + SIDE + 2, y + height - 4, typeset.fit(vertex.note, SMALL, room), SMALL, MUTED)
    _words(sheet, vertex, x, y, room)
    if vertex.pixels is not None and vertex.pixels.size:
        top = y + (HEAD if vertex.label else SIDE)
        high = foot - top - SIDE * (not vertex.note)
        rows, columns = vertex.pixels.shape[:2]
        if vertex.pixels.ndim == 2 and mark.limits is not None:
            cells, wide = colour(vertex.pixels, mark.limits), room
        else:
            high = min(high, room * rows / columns)
            cells, wide = Cells(vertex.pixels), high * columns / rows
        sheet.raster(x + SIDE + (room - wide) / 2, top, wide, high, cells)


def _words(sheet: Sheet, vertex: Vertex, x: float, y: float, room: float) -> None:
    for k, line in enumerate(vertex.words):
        sheet.text(x + SIDE + 2, y + HEAD + 9 + LINE * k, typeset.fit(line, SMALL, room, MONO), SMALL, INK, MONO)


def _joint(sheet: Sheet, vertex: Vertex, x: float, y: float, width: float, height: float) -> None:
    """A bar of what is positive and what is negative in the bundle."""
    positive, negative = vertex.shares
    total = positive + negative
    sheet.rect(x, y, width, height, fill=PAPER, stroke=INK if vertex.open else MUTED, line=1.0)
    if total > 0:
        part = height * positive / total
        sheet.rect(x, y, width, part, fill=BLUE)
        sheet.rect(x, y + part, width, height - part, fill=ORANGE)
