"""The static half of every mark: ``draw(mark, style) -> Sheet`` in the file that bears the mark's name."""

from __future__ import annotations

import dataclasses
import importlib
import warnings

from ...core.errors import DioramaError, LeftOut
from ...core.marks import Mark
from .. import typeset
from ..sheet import Sheet
from ..style import BAD, BOLD, LABEL, MUTED, PAPER, TEXT, Style

DOUBT = 0.6
"""So much of the paper lies over a mark that is doubted."""


def draw(mark: Mark, style: Style) -> Sheet:
    """Draw any mark, its title above and its caption below it, within the style's width where the mark can help it."""
    body = _body(mark, style)
    if mark.doubted:
        # What is under it shows through, as it does on the page.
        body.rect(0, 0, body.width, body.height, PAPER, alpha=DOUBT)
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


def _body(mark: Mark, style: Style) -> Sheet:
    """What a mark's half draws; one that fails is told in its own place, with its name, and takes no other with it."""
    name = type(mark).__name__.lower()
    try:
        body: Sheet = importlib.import_module(f"{__name__}.{name}").draw(mark, style)
    except (DioramaError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever one half does, the other marks are drawn
        said = f"The mark {name!r} could not be drawn on paper: {type(error).__name__}: {' '.join(str(error).split())}"
        warnings.warn(said, LeftOut, stacklevel=2)
        body = Sheet()
        for index, line in enumerate(typeset.wrap(said, LABEL, max(120.0, min(style.width, 480.0)))):
            body.grow(body.text(0, 15 * index + 11, line, LABEL, BAD), 15 * index + 15)
    return body


def narrower(style: Style, width: float) -> Style:
    """The same style with less room."""
    return dataclasses.replace(style, width=max(40.0, width))
