"""Parallel coordinates: one upright axis a quantity, one line an item."""

from __future__ import annotations

import numpy as np

from ...core.colour import BLUE, class_colour
from ...core.marks import Parallel
from .. import typeset
from ..sheet import Sheet
from ..style import HAIRLINE, INK, LABEL, MUTED, TINY, Style, number

PAD, TOP, BELOW = 34.0, 30.0, 4.0


def draw(mark: Parallel, style: Style) -> Sheet:
    """The axes with their ends, the lines between them; a line breaks where there is no number, and these are counted."""
    sheet = Sheet()
    values = np.asarray(mark.values, float)
    count = len(mark.axes)
    places = np.linspace(PAD, max(2 * PAD, style.width - PAD), count) if count > 1 else np.array([style.width / 2])
    room = (places[1] - places[0] if count > 1 else style.width) - 8
    low, high = np.array(mark.spans).T
    shares = (values - low) / np.where(high > low, high - low, 1.0)
    heights = TOP + mark.height * (1 - np.clip(shares, 0, 1))
    heights[~np.isfinite(values)] = np.nan
    for row, line in enumerate(heights):
        ink = class_colour(mark.colours[row]) if mark.colours else BLUE
        for part in _unbroken(line):
            if len(part) == 1:
                sheet.dots(np.array([[places[part[0]], line[part[0]]]]), 2.0, ink)
            else:
                sheet.line(places[part], line[part], ink, 0.9)
    for index, name in enumerate(mark.axes):
        x = float(places[index])
        sheet.line([x, x], [TOP, TOP + mark.height], INK, 0.8)
        sheet.text(x, 10, typeset.fit(name, LABEL, room), LABEL, INK, anchor="center")
        sheet.text(x, TOP - 5, number(mark.spans[index][1]), TINY, MUTED, anchor="center")
        sheet.text(x, TOP + mark.height + 12, number(mark.spans[index][0]), TINY, MUTED, anchor="center")
    sheet.line([places[0], places[-1]], [TOP + mark.height] * 2, HAIRLINE, 0.5)
    sheet.grow(max(style.width, float(places[-1]) + PAD), TOP + mark.height + 16 + BELOW)
    missing = int((~np.isfinite(values)).sum())
    if missing:
        words = f"{missing:,} without a number: there the line breaks"
        sheet.grow(sheet.text(0, sheet.height + 11, words, LABEL, MUTED), sheet.height + 15)
    return sheet


def _unbroken(line: np.ndarray) -> list[np.ndarray]:
    good = np.flatnonzero(np.isfinite(line))
    return np.split(good, np.flatnonzero(np.diff(good) > 1) + 1) if len(good) else []
