"""One bar a label; negative values go the other way."""

from __future__ import annotations

import numpy as np

from ...core.colour import BLUE, INFINITE, NAN_INK, ORANGE, class_colour
from ...core.marks import Bars
from .. import typeset
from ..cells import Cells
from ..sheet import Sheet
from ..style import BOLD, HAIRLINE, INK, LABEL, MUTED, PLAIN, SOFT, TINY, Style, number, with_unit

ROW, COLUMN_ROWS, SHORT_UNIT = 17.0, 40, 4
LEAST = 44.0
"""So much room for the bars is left to them by long names."""


def draw(mark: Bars, style: Style) -> Sheet:
    """Bars from zero, the value beside each; many bars go on in further columns; a reference is a tick."""
    if not len(mark.values):
        return Sheet()
    return _lying(mark, style) if mark.horizontal else _standing(mark, style)


def _colour(mark: Bars, index: int) -> str:
    if mark.colours:
        return class_colour(mark.colours[index])
    return ORANGE if mark.values[index] < 0 else BLUE


def _words(mark: Bars, index: int) -> str:
    return with_unit(number(float(mark.values[index])), mark.unit if len(mark.unit) <= SHORT_UNIT else "")


def _lying(mark: Bars, style: Style) -> Sheet:
    count = len(mark.values)
    parts = -(-count // COLUMN_ROWS)
    while parts > 1 and style.width / parts < 230:
        parts -= 1
    each = -(-count // parts)
    room = (style.width - 24 * (parts - 1)) / parts
    sheet = Sheet()
    for part in range(parts):
        sheet.place(_list(mark, range(part * each, min(count, (part + 1) * each)), room), part * (room + 24), 0)
    _said(sheet, mark)
    return sheet


def _list(mark: Bars, indices: range, room: float) -> Sheet:
    sheet = Sheet(room, len(indices) * ROW)
    after = max(typeset.width(_words(mark, i), LABEL, BOLD) for i in range(len(mark.values)))
    notes = min(room * 0.3, max((typeset.width(note, TINY) for note in mark.notes), default=-8.0)) + 8
    # A name is whole as long as a bar can be told beside it.
    labels = min(max(room * 0.4, room - after - notes - 16 - LEAST), max(typeset.width(label, LABEL, BOLD) for label in mark.labels))
    start, stop = labels + 8, room - after - 8 - notes
    low, high = mark.extent()
    scale = max(10.0, stop - start) / (high - low)
    zero = start - low * scale
    for row, index in enumerate(indices):
        y = row * ROW
        face = BOLD if mark.strong == index else PLAIN
        sheet.text(labels, y + 12, typeset.fit(mark.labels[index], LABEL, labels, face), LABEL, INK, face, "right")
        # Where bars go both ways too: it leads from a name to a bar that begins in the middle.
        sheet.rect(start, y + 3.5, stop - start, 10, fill=SOFT)
        _bar(sheet, mark, index, zero, y + 3.5, scale, start, stop)
        if mark.reference is not None and np.isfinite(mark.reference[index]):
            at = zero + float(np.clip(mark.reference[index], low, high)) * scale
            sheet.line([at, at], [y + 1.5, y + 15.5], INK, 1.4)
        sheet.text(stop + 8 + after, y + 12, _words(mark, index), LABEL, INK if face.bold else MUTED, face, "right")
        if mark.notes:
            sheet.text(room - notes + 8, y + 12, typeset.fit(mark.notes[index], TINY, notes - 8), TINY, MUTED)
    if low < 0:
        sheet.line([zero, zero], [0, len(indices) * ROW], MUTED, 0.8)
    return sheet


def _bar(sheet: Sheet, mark: Bars, index: int, zero: float, y: float, scale: float, start: float, stop: float) -> None:
    value = float(mark.values[index])
    if np.isnan(value):
        sheet.raster(start, y, stop - start, 10, Cells(np.full((1, 1, 3), 255, np.uint8), nan=np.ones((1, 1), bool)))
        sheet.rect(start, y, stop - start, 10, stroke=NAN_INK, line=0.5)
        return
    end = float(np.clip(zero + value * scale, start, stop)) if np.isfinite(value) else (stop if value > 0 else start)
    sheet.rect(
        min(zero, end), y, max(abs(end - zero), 0.6), 10, fill=_colour(mark, index) if np.isfinite(value) else INFINITE
    )
    beyond = zero + value * scale
    if np.isfinite(value) and (beyond > stop + 0.5 or beyond < start - 0.5):
        tip = 4 if value > 0 else -4
        sheet.area(np.array([[end, y], [end, y + 4], [end - tip, y]]), INK)


def _standing(mark: Bars, style: Style) -> Sheet:
    sheet = Sheet()
    count = len(mark.values)
    low, high = mark.extent()
    pitch = min(44.0, style.width / count)
    longest = max(typeset.width(label, TINY) for label in mark.labels)
    values = pitch >= max(typeset.width(_words(mark, i), TINY) for i in range(count)) + 3
    top, tall = 14.0 if values else 2.0, 110.0
    scale = tall / (high - low)
    zero = top + high * scale
    bar = max(1.0, pitch * 0.7)
    for index in range(count):
        x = index * pitch + (pitch - bar) / 2
        value = float(mark.values[index])
        if np.isnan(value):
            sheet.raster(x, top, bar, tall, Cells(np.full((1, 1, 3), 255, np.uint8), nan=np.ones((1, 1), bool)))
            continue
        end = (
            float(np.clip(zero - value * scale, top, top + tall))
            if np.isfinite(value)
            else (top if value > 0 else top + tall)
        )
        fill = _colour(mark, index) if np.isfinite(value) else INFINITE
        sheet.rect(x, min(zero, end), bar, max(0.6, abs(end - zero)), fill=fill)
        if mark.reference is not None and np.isfinite(mark.reference[index]):
            at = zero - float(np.clip(mark.reference[index], low, high)) * scale
            sheet.line([x - 2, x + bar + 2], [at, at], INK, 1.4)
            end = min(end, at)  # its number stands above both
        if values:
            face = BOLD if mark.strong == index else PLAIN
            sheet.text(x + bar / 2, min(zero, end) - 3, _words(mark, index), TINY, MUTED, face, "center")
    sheet.line([0, count * pitch], [zero, zero], HAIRLINE if low == 0 else MUTED, 0.8)
    sheet.grow(count * pitch, top + tall)
    _labels(sheet, mark, pitch, longest)
    _said(sheet, mark)
    return sheet


def _labels(sheet: Sheet, mark: Bars, pitch: float, longest: float) -> None:
    y = sheet.height
    if longest <= pitch - 2:
        for index, label in enumerate(mark.labels):
            face = BOLD if mark.strong == index else PLAIN
            sheet.text((index + 0.5) * pitch, y + 12, label, TINY, MUTED, face, "center")
        sheet.grow(0, y + 16)
        return
    each = max(1, int(np.ceil((TINY + 1.5) / pitch)))
    for index in range(0, len(mark.labels), each):
        word = typeset.fit(mark.labels[index], TINY, 110)
        sheet.text((index + 0.5) * pitch + 3.2, y + 4, word, TINY, MUTED, anchor="right", angle=90)
    sheet.grow(0, y + min(longest, 110) + 8)


def _said(sheet: Sheet, mark: Bars) -> None:
    nan, infinite = int(np.isnan(mark.values.astype(float)).sum()), int(np.isinf(mark.values.astype(float)).sum())
    said = " · ".join(
        filter(None, [f"{nan:,} NaN, hatched" if nan else "", f"{infinite:,} infinite, magenta" if infinite else ""])
    )
    if len(mark.unit) > SHORT_UNIT:
        said = " · ".join(filter(None, [f"unit: {mark.unit}", said]))
    if said:
        y = sheet.height + 2
        sheet.grow(sheet.text(0, y + 11, said, LABEL, MUTED), y + 14)
