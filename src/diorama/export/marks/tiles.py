"""A grid of small pictures: weights, activation maps, examples."""

from __future__ import annotations

from ...core.marks import Tiles
from .. import typeset
from ..cells import Cells, colour, faded, pixels
from ..legend import legend, needed
from ..sheet import Sheet
from ..style import ACCENT, INK, MUTED, PAPER, TINY, Style

GAP = 5.0


def draw(mark: Tiles, style: Style) -> Sheet:
    """Crisp pictures in rows, label and note under each; off ones are dimmed and say why."""
    sheet = Sheet()
    count, rows, columns = mark.images.shape[:3]
    if not count:
        return sheet
    wide = style.snap(max(mark.size, 16), columns, style.width)
    high = max(wide * rows / max(1, columns), 1 / style.scale)
    pitch = max(wide, _label_room(mark, wide)) + GAP
    across = min(mark.columns or count, max(1, int((style.width + GAP) // pitch)), count)
    inset = (pitch - GAP - wide) / 2
    below = 13.0 * bool(mark.labels) + 12.0 * bool(mark.notes)
    step = high + below + (GAP if not below else 4.0)
    for index in range(count):
        x, y = index % across * pitch + inset, index // across * step
        sheet.raster(x, y, wide, high, _cells(mark, index))
        _over(sheet, mark, index, x, y, wide, wide / max(1, columns))
        _under(sheet, mark, index, x + wide / 2, y + high, pitch - GAP)
    lines = -(-count // across)
    sheet.grow(across * pitch - GAP, lines * step)
    if mark.limits is not None and mark.images.ndim == 3 and needed(mark.limits):
        sheet.place(legend(mark.limits, style), 0, lines * step + 5)
    return sheet


def _label_room(mark: Tiles, wide: float) -> float:
    """How wide labels and notes are, up to 1.7 times the picture: beyond that they are cut."""
    widths = [typeset.width(word, TINY) for word in {*mark.labels, *mark.notes}]
    return min(max(widths, default=0.0) + 2, wide * 1.7)


def _cells(mark: Tiles, index: int) -> Cells:
    image = mark.images[index]
    cells = pixels(image) if image.ndim == 3 else colour(image, mark.limits)  # type: ignore[arg-type]
    return faded(cells) if mark.faded is not None and mark.faded[index] else cells


def _over(sheet: Sheet, mark: Tiles, index: int, x: float, y: float, wide: float, scale: float) -> None:
    if mark.boxes and mark.boxes[index].width > 0:
        box = mark.boxes[index]
        sheet.rect(x + box.x * scale, y + box.y * scale, box.width * scale, box.height * scale, stroke=ACCENT, line=1.2)
    if mark.badges and mark.badges[index]:
        word = typeset.fit(mark.badges[index], TINY, wide - 4)
        sheet.rect(x, y, typeset.width(word, TINY) + 5, 12, fill=PAPER, alpha=0.88)
        sheet.text(x + 2.5, y + 9, word, TINY, INK)


def _under(sheet: Sheet, mark: Tiles, index: int, middle: float, y: float, room: float) -> None:
    if mark.labels:
        word = typeset.fit(mark.labels[index], TINY, room)
        left = max(middle - typeset.width(word, TINY) / 2, middle - room / 2)
        sheet.text(max(0.0, left), y + 10, word, TINY, MUTED)
    if mark.notes:
        word = typeset.fit(mark.notes[index], TINY, room)
        sheet.text(max(0.0, middle - typeset.width(word, TINY) / 2), y + (22 if mark.labels else 10), word, TINY, MUTED)
