"""The static half of every mark: ``draw(mark, style) -> Sheet`` in the file that bears the mark's name."""

from __future__ import annotations

import dataclasses
import importlib

from ...core.marks import Mark
from .. import typeset
from ..sheet import Sheet
from ..style import BOLD, LABEL, MUTED, TEXT, Style


def draw(mark: Mark, style: Style) -> Sheet:
    """Draw any mark, its title above and its caption below it, within the style's width where the mark can help it."""
    body: Sheet = importlib.import_module(f"{__name__}.{type(mark).__name__.lower()}").draw(mark, style)
    if not mark.title and not mark.caption:
        return body
    sheet, y = Sheet(), 0.0
    room = max(body.width, min(style.width, 220.0))
    if mark.title:
        for line in typeset.wrap(mark.title, TEXT, room, BOLD):
            sheet.grow(sheet.text(0, y + 12, line, TEXT, face=BOLD), y + 17)
            y += 17
        y += 3
    sheet.place(body, 0, y)
    y += body.height
    if mark.caption:
        y += 5
        for line in typeset.wrap(mark.caption, LABEL, room):
            sheet.grow(sheet.text(0, y + 10, line, LABEL, MUTED), y + 15)
            y += 15
    return sheet


def narrower(style: Style, width: float) -> Style:
    """The same style with less room."""
    return dataclasses.replace(style, width=max(40.0, width))
