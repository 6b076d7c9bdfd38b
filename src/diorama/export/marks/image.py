"""One picture, perhaps with heat, a contour and boxes over it."""

from __future__ import annotations

import numpy as np
from matplotlib.path import Path

from ...core.colour import magnitude
from ...core.marks import Image
from .. import typeset
from ..cells import Cells, colour, heated, pixels
from ..legend import legend, needed
from ..sheet import Shape, Sheet
from ..style import ACCENT, INK, LABEL, MUTED, PAPER, Style
from . import narrower


def base(mark: Image) -> Cells:
    """The picture's own colours."""
    if mark.pixels.ndim == 3:
        return pixels(mark.pixels)
    return colour(mark.pixels, mark.limits or magnitude(mark.pixels, scale="grey"))


def draw(mark: Image, style: Style) -> Sheet:
    """Pixels as they are, enlarged by whole steps; label below; legend of the heat, else of the values."""
    sheet = Sheet()
    rows, columns = mark.pixels.shape[:2]
    wide = style.snap(max(mark.size, 96), columns, style.width)
    high = wide * rows / max(1, columns)
    cells = base(mark)
    limits = mark.limits
    if mark.heat is not None:
        limits = mark.heat_limits or magnitude(np.abs(mark.heat))
        cells = heated(cells, mark.heat, limits)
    sheet.raster(0, 0, wide, high, cells)
    scale = wide / max(1, columns)
    if mark.heat is not None and mark.contour is not None and limits is not None:
        _contour(sheet, mark.heat, mark.contour * max(abs(limits.low), abs(limits.high)), scale)
    for box in mark.boxes:
        sheet.rect(box.x * scale, box.y * scale, box.width * scale, box.height * scale, stroke=ACCENT, line=1.4)
        if box.label:
            words = typeset.fit(box.label, LABEL, wide - 4)
            long = typeset.width(words, LABEL)
            x = min(max(0.0, box.x * scale), wide - long - 4)
            y = max(0.0, box.y * scale - 14)
            sheet.rect(x, y, long + 4, 14, fill=PAPER, alpha=0.85)
            sheet.text(x + 2, y + 11, words, LABEL, ACCENT)
    sheet.grow(wide, high)
    y = high + 3
    if mark.label:
        for line in typeset.wrap(mark.label, LABEL, max(wide, 96.0)):
            sheet.grow(sheet.text(0, y + 11, line, LABEL, MUTED), y + 15)
            y += 14
    if limits is not None and needed(limits) and (mark.heat is not None or mark.pixels.ndim == 2):
        sheet.place(legend(limits, narrower(style, max(wide, min(240.0, style.width))), width=60), 0, y + 4)
    return sheet


def _contour(sheet: Sheet, heat: np.ndarray, level: float, scale: float) -> None:
    """Draw where the heat's magnitude crosses the level, along the edges of its pixels."""
    inside = np.pad(np.abs(np.nan_to_num(heat)) >= level, 1)
    vertices, codes = [], []
    for y, x in np.argwhere(inside[1:, :] != inside[:-1, :]):
        vertices += [((x - 1) * scale, y * scale), (x * scale, y * scale)]
    for y, x in np.argwhere(inside[:, 1:] != inside[:, :-1]):
        vertices += [(x * scale, (y - 1) * scale), (x * scale, y * scale)]
    codes = [Path.MOVETO, Path.LINETO] * (len(vertices) // 2)
    if vertices:
        sheet.items.append((Shape(Path(np.array(vertices), codes), "", PAPER, 2.4), 0.0, 0.0))
        sheet.items.append((Shape(Path(np.array(vertices), codes), "", INK, 1.0), 0.0, 0.0))
