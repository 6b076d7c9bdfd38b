"""How wide texts are on the page, told without a browser: from the widths of the characters of its faces.

``inter.json`` beside this file holds the characters of Inter by their width in thousandths of the type's size; it is
made by ``python -m diorama.export.lettering`` and a test fails while it is stale.
"""

from __future__ import annotations

import functools
import json
import unicodedata
from pathlib import Path

MONO = 0.6025
"""The width of a character of the monospaced face; DejaVu Sans Mono, SF Mono, Menlo and Consolas are at most so wide."""
_DIGIT = 0.6485
"""Digits are tabular on the page: all as wide as the widest."""
_FOREIGN = 0.85
"""What Inter lacks (arrows, signs) comes from a face of the system."""


@functools.lru_cache(4096)
def width(text: str, size: float) -> float:
    """How wide a text is in the page's face, in pixels, without kerning (which takes a little off)."""
    return sum(map(_advance, text)) * size


@functools.lru_cache(4096)
def monospaced(text: str, size: float) -> float:
    """How wide a text is in the page's monospaced face, in pixels."""
    return sum(max(MONO, _broad(char)) if char > "\u0300" else MONO for char in text) * size


@functools.cache
def advances() -> dict[str, float]:
    """The widths of Inter's characters in ems."""
    table = json.loads((Path(__file__).parent / "inter.json").read_text(encoding="utf-8"))
    return {char: int(each) / 1000 for each, characters in table.items() for char in characters}


@functools.lru_cache(4096)
def _advance(char: str) -> float:
    if char.isascii() and char.isdigit():
        return _DIGIT
    known = advances().get(char)
    return known if known is not None else _broad(char) or _FOREIGN


def _broad(char: str) -> float:
    """An em for the wide characters of East Asia and for pictograms, else nothing."""
    return 1.0 if unicodedata.east_asian_width(char) in "WF" else 0.0
