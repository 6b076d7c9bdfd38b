"""A whole picture on white paper: title, body, caption, checks, and how it was made."""

from __future__ import annotations

import io
import json
import math

import msgspec
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as Pillow
from PIL import PngImagePlugin

from ..core.picture import Check, Picture
from . import typeset
from .marks import draw as draw_mark
from .sheet import PER_INCH, Painting, Sheet
from .style import BOLD, GOOD, HAIRLINE, INK, LABEL, MUTED, PAPER, TEXT, TINY, TITLE, WARN, Style, number, with_unit

MARGIN = 16.0


def compose(picture: Picture, style: Style, *, footer: bool = False, size: tuple[float, float] | None = None) -> Sheet:
    """Lay out a picture; with ``size`` the paper is at least that large (a film's frames are all alike)."""
    body = draw_mark(picture.body, style)
    body.cover()
    room = max(style.width, min(body.width, style.width * 2), 200.0)
    content = Sheet()
    _head(content, picture, room)
    content.place(body, 0, content.height + 10)
    _foot(content, picture, room, footer)
    sheet = Sheet(math.ceil(content.width + 2 * MARGIN), math.ceil(content.height + 2 * MARGIN))
    if size is not None:
        sheet.grow(*size)
    sheet.rect(0, 0, sheet.width, sheet.height, fill=PAPER)
    sheet.place(content, MARGIN, MARGIN)
    return sheet


def _head(sheet: Sheet, picture: Picture, room: float) -> None:
    step = f"step {picture.step:,}" if picture.step is not None else ""
    aside = typeset.width(step, LABEL) + 14 if step else 0.0
    lines = typeset.wrap(picture.title, TITLE, room - aside, BOLD) or [""]
    for index, line in enumerate(lines):
        y = index * 20
        wide = sheet.text(0, y + 14, line, TITLE, INK, BOLD)
        if index == 0 and step:
            wide += 14 + sheet.text(wide + 14, 14, step, LABEL, MUTED)
        sheet.grow(wide, y + 20)


def _foot(sheet: Sheet, picture: Picture, room: float, footer: bool) -> None:
    wide = min(room, 680.0)
    if picture.caption:
        sheet.grow(0, sheet.height + 10)
        _lines(sheet, picture.caption, TEXT, INK, wide, 18)
    if picture.note:
        sheet.grow(0, sheet.height + 5)
        _lines(sheet, picture.note, LABEL, WARN, wide, 15)
    for check in picture.checks:
        sheet.grow(0, sheet.height + 5)
        _check(sheet, check, wide)
    if footer and picture.provenance is not None:
        y = sheet.height + 10
        sheet.line([0, wide], [y, y], HAIRLINE, 0.8)
        sheet.grow(wide, y + 5)
        _lines(sheet, made(picture), TINY, MUTED, wide, 13)


def _lines(sheet: Sheet, text: str, size: float, ink: str, room: float, step: float) -> None:
    for line in typeset.wrap(text, size, room):
        y = sheet.height
        sheet.grow(sheet.text(0, y + size, line, size, ink), y + step)


def _check(sheet: Sheet, check: Check, room: float) -> None:
    words = checked(check)
    ink = MUTED if check.good is None else GOOD if check.good else WARN
    y = sheet.height
    sheet.rect(0, y + 3, 3, 10, fill=ink)
    for index, line in enumerate(typeset.wrap(words, LABEL, room - 9)):
        sheet.grow(9 + sheet.text(9, y + 11 + index * 15, line, LABEL, MUTED), y + 15 * (index + 1))


def checked(check: Check) -> str:
    """A check in words: its number, and the sentence about it, which may go on from the number."""
    words = f"{check.name.replace('_', ' ')}: {with_unit(number(check.value), check.unit)}"
    if not check.sentence:
        return words
    goes_on = check.sentence[0].islower()
    return f"{words}{('' if check.sentence.startswith('of ') else ',') if goes_on else '.'} {check.sentence}"


def made(picture: Picture) -> str:
    """How the picture was made, in one plain paragraph."""
    source = picture.provenance
    if source is None:
        return ""
    knobs = ", ".join(f"{name} {value}" for name, value in source.knobs.items() if value is not None)
    said = {
        "run": source.run,
        "step": f"{source.step:,}" if source.step is not None else "",
        "selection": source.selection,
        "seed": "" if source.seed is None else str(source.seed),
        "weights": source.model,
    }
    parts = [source.method + (f" ({knobs})" if knobs else ""), source.sentence]
    parts += [f"{name} {value}" for name, value in said.items() if value]
    parts += [f"{source.mode} mode" if source.mode else "", source.source, *source.guessed]
    parts.append(", ".join(f"{name} {version}" for name, version in source.versions.items()))
    return " · ".join(part.rstrip(".") for part in parts if part)


def metadata(picture: Picture) -> dict[str, str]:
    """What a file says about itself: title, caption, and the whole provenance as JSON."""
    whole = {
        "step": picture.step,
        "checks": [msgspec.to_builtins(check) for check in picture.checks],
        "provenance": msgspec.to_builtins(picture.provenance) if picture.provenance is not None else None,
    }
    words = " ".join(filter(None, [picture.caption, picture.note]))
    return {
        "Title": picture.title,
        "Description": words,
        "Software": "diorama",
        "Source": json.dumps(whole, default=str, allow_nan=True),
    }


def figure(sheet: Sheet, dpi: float) -> Figure:
    """A matplotlib figure that shows a sheet; it belongs to no pyplot state."""
    made = Figure(figsize=(sheet.width / PER_INCH, sheet.height / PER_INCH), dpi=dpi, facecolor=PAPER, layout="none")  # type: ignore[arg-type]  # documented, not in the stub
    made.add_artist(Painting(sheet, sheet.height))
    return made


def raster(sheet: Sheet, dpi: float) -> np.ndarray:
    """The sheet's pixels, (height, width, 3) uint8."""
    canvas = FigureCanvasAgg(figure(sheet, dpi))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def png(sheet: Sheet, dpi: float, information: dict[str, str]) -> bytes:
    """The sheet as PNG, with what it says about itself in text chunks."""
    notes = PngImagePlugin.PngInfo()
    for name, text in information.items():
        notes.add_itxt(name, text)
    out = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(raster(sheet, dpi))).save(out, "png", dpi=(dpi, dpi), pnginfo=notes)
    return out.getvalue()


def svg(sheet: Sheet, information: dict[str, str]) -> bytes:
    """The sheet as SVG: text as outlines of its font, small pictures in their own pixels."""
    clean = {name: typeset.visible(text) for name, text in information.items() if name != "Software"}
    out = io.BytesIO()
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure(sheet, PER_INCH)).print_svg(out, metadata={**clean, "Creator": "diorama", "Date": None})
    return out.getvalue()


def pdf(sheet: Sheet, information: dict[str, str]) -> bytes:
    """The sheet as PDF, with its fonts embedded."""
    out = io.BytesIO()
    about = {
        "Title": information["Title"], "Subject": information["Description"], "Keywords": information["Source"],
        "Creator": "diorama", "Producer": None, "CreationDate": None,
    }
    from matplotlib.backends.backend_pdf import FigureCanvasPdf  # which brings all of fontTools: half a second

    FigureCanvasPdf(figure(sheet, PER_INCH)).print_pdf(out, metadata=about)
    return out.getvalue()
