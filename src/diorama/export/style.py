"""The look of paper: colours, sizes and the one way numbers are written."""

from __future__ import annotations

import dataclasses
import math

from ..core.numerals import plain
from .typeset import Face

PAPER, INK, MUTED, HAIRLINE, ACCENT = "#ffffff", "#1c1d20", "#6b6d73", "#e4e2dd", "#2f5bea"
SOFT = "#f4f3f0"
GOOD, WARN, BAD = "#2a9d63", "#d9730d", "#c92a2a"
TONES = {"plain": MUTED, "good": GOOD, "warn": WARN, "bad": BAD}
TITLE, TEXT, LABEL, TINY = 15.0, 13.0, 11.0, 9.5
"""Type sizes in layout pixels (a hundredth of an inch)."""
PLAIN, BOLD, MONO, MONO_BOLD = Face(), Face(bold=True), Face(mono=True), Face(bold=True, mono=True)


@dataclasses.dataclass(frozen=True)
class Style:
    """How a figure is laid out.

    ``width`` is the room across, in layout pixels; ``scale`` is how many device pixels one layout pixel gets, so that
    the cells of small pictures can be made whole device pixels; ``rows`` is how many rows of a table are shown;
    ``beside`` is the least room left and right of a chart's plotting area, so that charts one below the other have one x axis.
    """

    width: float = 700.0
    scale: float = 3.0
    rows: int = 40
    classes: tuple[str, ...] = ()
    beside: tuple[float, float] = (0.0, 0.0)

    def snap(self, wanted: float, cells: int, room: float = math.inf) -> float:
        """A size near the wanted one that gives every cell the same whole number of device pixels."""
        cells = max(1, cells)
        each = max(1, round(wanted * self.scale / cells))
        while each > 1 and each * cells / self.scale > room:
            each -= 1
        return min(each * cells / self.scale, max(room, 1 / self.scale)) if each == 1 else each * cells / self.scale


def number(value: float, digits: int = 3) -> str:
    """A number with as many digits as it deserves, as the page writes it."""
    if value is None or math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10**6 or size < 10**-5:
        text = plain(f"{value:.{max(0, digits - 2)}e}")
        whole = math.isclose(size, 10.0 ** round(math.log10(size)), rel_tol=1e-9)
        return ("−" if value < 0 else "") + text.partition(" × ")[2] if whole and " × " in text else text
    if size < 10**-3:
        text = f"{value:.{1 - math.floor(math.log10(size))}f}"
    elif size >= 10**digits or value == int(value):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    return text.replace("-", "−")


def short(value: float, digits: int = 3) -> str:
    """A number without zeros at its end, for ticks and legends."""
    text = number(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text.replace(".0 ×", " ×")


def with_unit(text: str, unit: str) -> str:
    """A number with its unit behind a thin space."""
    return f"{text}\u2009{unit}" if unit else text


def counted(count: int, noun: str) -> str:
    """A count in words: '3 NaN'."""
    return f"{count:,} {noun}"
