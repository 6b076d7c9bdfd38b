"""Tokens, each coloured by a value, with likely alternatives under it."""

from __future__ import annotations

import numpy as np

from ...core.marks import Text
from .. import typeset
from ..cells import Cells, colour
from ..legend import legend
from ..sheet import Sheet
from ..style import HAIRLINE, INK, LABEL, MONO, MUTED, PAPER, TEXT, TINY, Style

HIGH, UNDER, PAD, CLOSE = 20.0, 11.5, 5.0, 1.0


def draw(mark: Text, style: Style) -> Sheet:
    """Tokens in reading order, broken where the width ends or the text breaks; alternatives below, likeliest first."""
    sheet = Sheet()
    count = len(mark.tokens)
    words = ["" if mark.characters and token == " " else typeset.visible(token) for token in mark.tokens]
    depth = max((len(found) for found in mark.alternatives), default=0)
    widths = _widths(mark, words)
    row = HIGH + (depth * UNDER + 8 if depth else 4)
    inks = _inks(mark)
    shown = inks.enlarged(count, 1, whole=False)[0, :, :3] / 255 if inks is not None and count else None
    needed = _needed(mark, widths, style.width)
    x = y = 0.0
    for index, word in enumerate(words):
        if x and x + needed[index] > style.width:
            x, y = 0.0, y + row
        struck = mark.struck is not None and bool(mark.struck[index])
        if inks is not None and not struck:
            one = [None if a is None else a[:, index : index + 1] for a in (inks.colours, inks.nan, inks.clipped)]
            sheet.raster(x, y, widths[index], HIGH, Cells(*one))  # type: ignore[arg-type]
        else:
            sheet.rect(x, y, widths[index], HIGH, stroke=HAIRLINE, line=0.6)
        ink = INK
        if struck:
            ink = MUTED
        elif shown is not None and float(shown[index] ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])) < 0.22:
            ink = PAPER
        cut = typeset.fit(word, TEXT, widths[index], MONO)
        sheet.text(x + widths[index] / 2, y + 14.5, cut, TEXT, ink, MONO, "center")
        if struck:
            sheet.rect(x + 1, y + 10, widths[index] - 2, 0.8, fill=MUTED)
        if mark.alternatives:
            _under(sheet, mark, index, x, y + HIGH, widths[index])
        x += widths[index]
        sheet.grow(x, y + row)
        if "\n" in mark.tokens[index]:
            x, y = 0.0, y + row
    sheet.grow(0, y + (row if x else 0))
    if mark.limits is not None:
        sheet.place(legend(mark.limits, style), 0, sheet.height + 5)
    if mark.alternatives:
        line = "Under each: the answers for its place, likeliest first; the bluer, the likelier."
        y = sheet.height + 3
        for part in typeset.wrap(line, LABEL, max(sheet.width, 240.0)):
            sheet.grow(sheet.text(0, y + 11, part, LABEL, MUTED), y + 14)
            y += 14
    return sheet


def _widths(mark: Text, words: list[str]) -> list[float]:
    """Cells are equal for characters; a token's cell holds the token and, within reason, its alternatives."""
    widths = []
    for index, word in enumerate(words):
        wide = typeset.width(word, TEXT, MONO)
        found = mark.alternatives[index] if mark.alternatives else ()
        under = max((typeset.width(typeset.visible(a.text), TINY, MONO) for a in found), default=0.0)
        pad = CLOSE if mark.characters else PAD
        widths.append(min(max(wide, min(under, 70.0)) + pad, 240.0))
    if mark.characters and widths:
        return [max(widths)] * len(widths)
    return widths


def _needed(mark: Text, widths: list[float], line: float) -> list[float]:
    """The room that must be left on a line for each token: a word's first asks for the whole word, if a line holds it."""
    needed = list(widths)
    starts = [index for index in range(len(widths)) if _starts(mark, index)]
    for start, end in zip(starts, [*starts[1:], len(widths)], strict=True):
        whole = sum(widths[start:end])
        needed[start] = whole if whole <= line else widths[start]
    return needed


def _starts(mark: Text, index: int) -> bool:
    """Whether a token starts a word: behind white space, or of itself where tokens are words."""
    token, last = mark.tokens[index], mark.tokens[index - 1] if index else " "
    if not mark.characters and not any(one[:1].isspace() and one.strip() for one in mark.tokens):
        return not token.startswith("##")
    if token[:1].isspace():
        return not mark.characters or last.endswith("\n") or not index
    return last[-1:].isspace() or not index


def _inks(mark: Text) -> Cells | None:
    if mark.values is None or mark.limits is None:
        return None
    return colour(mark.values[None].astype(float), mark.limits)


def _sure(likely: float) -> str:
    """The ground of a guess: the surer, the bluer."""
    return "#" + "".join(f"{round(255 + (one - 255) * 0.5 * likely):02x}" for one in (0x2F, 0x5B, 0xEA))


def _under(sheet: Sheet, mark: Text, index: int, x: float, y: float, wide: float) -> None:
    for place, other in enumerate(mark.alternatives[index]):
        likely = float(np.clip(np.nan_to_num(other.probability), 0, 1))
        grey = round(0xA8 + (0x1C - 0xA8) * likely**0.6)
        word = typeset.fit("␣" if other.text == " " else typeset.visible(other.text), TINY, wide - 1, MONO)
        colour_ = f"#{grey:02x}{grey:02x}{grey:02x}"
        if likely >= 0.02:
            sheet.rect(x, y + place * UNDER + 1, wide, UNDER, fill=_sure(likely))
        sheet.text(x + wide / 2, y + 10 + place * UNDER, word, TINY, colour_, MONO, "center")
