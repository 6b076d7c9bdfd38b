"""A melody as a roll: notes over time, as high as their pitch."""

from __future__ import annotations

import numpy as np

from ...core.colour import BLUE
from ...core.marks import Roll
from ...core.marks.roll import pitch_name
from .. import typeset
from ..axes import Axis, ticks_below
from ..cells import colour
from ..legend import legend
from ..sheet import Sheet
from ..style import HAIRLINE, LABEL, MUTED, TINY, Style


def draw(mark: Roll, style: Style) -> Sheet:
    """Every note a bar over its beats; a faint line at each C."""
    sheet = Sheet()
    low, high = mark.pitch_span()
    height = max(60.0, float(mark.height))
    left = typeset.width("C4", TINY) + 6
    axis = Axis(0.0, max(mark.beats, 1.0), left, style.width - 6)
    step = height / (high - low + 1)
    for number in range(int(np.ceil(low)), int(np.floor(high)) + 1):
        if number % 12 == 0:
            y = (high - number + 0.5) * step
            sheet.line([left, style.width - 6], [y, y], HAIRLINE)
            sheet.text(left - 4, y + 3, pitch_name(number), TINY, MUTED, anchor="right")
    inks = None if mark.values is None or mark.limits is None else colour(mark.values[None].astype(float), mark.limits).colours[0]
    for index, (start, length, pitch) in enumerate(zip(mark.starts, mark.lengths, mark.pitches, strict=True)):
        x, end = float(axis(start)), float(axis(start + length))
        fill = BLUE if inks is None else "#" + "".join(f"{int(part):02x}" for part in inks[index])
        sheet.rect(x, (high - pitch) * step + 0.5, max(1.0, end - x - 1), max(1.0, step - 1), fill, MUTED if step > 5 else "", 0.5)
    sheet.grow(style.width, height)
    ticks_below(sheet, axis, height, style.width)
    sheet.text((left + style.width - 6) / 2, height + 30, "beats", LABEL, MUTED, anchor="center")
    sheet.grow(style.width, height + 34)
    if mark.limits is not None:
        sheet.place(legend(mark.limits, style), 0, sheet.height + 5)
    return sheet
