"""A number or a finding, with its unit and its warning."""

from __future__ import annotations

import numpy as np

from ...core.marks import Number
from .. import typeset
from ..sheet import Sheet
from ..style import BOLD, INK, LABEL, MUTED, TEXT, TONES, Style, number, with_unit


def draw(mark: Number, style: Style) -> Sheet:
    """The label with a dot for its tone, the value beside it, the note below."""
    sheet = Sheet()
    room = min(style.width, 420.0)
    x = 0.0
    if mark.tone != "plain":
        sheet.dots(np.array([[5.0, 8.0]]), 4, TONES[mark.tone])
        x = 16.0
    value = with_unit(number(mark.value, 4), mark.unit) if mark.value is not None else ""
    long = typeset.width(value, TEXT, BOLD) + (10 if value else 0)
    lines = typeset.wrap(
        mark.label, TEXT, max(60.0, room - x - long), BOLD if mark.note or mark.tone != "plain" else typeset.Face()
    )
    y = 0.0
    for index, line in enumerate(lines or [""]):
        wide = sheet.text(x, y + 12, line, TEXT, INK, BOLD if mark.note or mark.tone != "plain" else typeset.Face())
        if index == 0 and value:
            wide += 10 + sheet.text(
                x + wide + 10, y + 12, value, TEXT, TONES[mark.tone] if mark.tone == "bad" else INK, BOLD
            )
        y += 17
        sheet.grow(x + wide, y)
    for line in typeset.wrap(mark.note, LABEL, room - x):
        sheet.grow(x + sheet.text(x, y + 10, line, LABEL, MUTED), y + 15)
        y += 15
    return sheet
