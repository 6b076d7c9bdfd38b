"""Type on paper: which font draws a character, how wide a text is, and how it is cut or wrapped to fit."""

from __future__ import annotations

import functools
import threading
import unicodedata
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import font_manager, ft2font

_STATIC = Path(__file__).resolve().parent.parent / "static" / "fonts"
_MATPLOTLIB = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_OTHERS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Arial Unicode MS",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
)
_UNKNOWN = "\u25a1"
_VISIBLE = {"\n": "↵", "\t": "⇥", "\r": "␍", "\x0b": "␋", "\x0c": "␌", "\x7f": "␡"}
_lock = threading.Lock()


class Face(NamedTuple):
    """One of the four faces: plain or bold, proportional or mono."""

    bold: bool = False
    mono: bool = False


class FontRun(NamedTuple):
    """A stretch of text that one font file can draw."""

    text: str
    font: str
    width: float


@functools.cache
def files(face: Face) -> tuple[str, ...]:
    """The font files of a face, the preferred first: Inter as the page has it, DejaVu, then what the system has."""
    inter = _STATIC / ("Inter-SemiBold.ttf" if face.bold else "Inter-Regular.ttf")
    dejavu = "DejaVuSansMono" if face.mono else "DejaVuSans"
    found = [] if face.mono or not inter.exists() else [str(inter)]
    found.append(str(_MATPLOTLIB / f"{dejavu}{'-Bold' if face.bold else ''}.ttf"))
    found.append(str(_MATPLOTLIB / "DejaVuSans.ttf"))
    system = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist}
    found += [system[name] for name in _OTHERS if name in system]
    return tuple(dict.fromkeys(found))


@functools.cache
def _advances(file: str) -> dict[str, float | None]:
    """A table that fills itself: by character, its advance in ems, or None where the font lacks it."""
    return {}


@functools.cache
def _face(file: str) -> ft2font.FT2Font:
    font = ft2font.FT2Font(file)
    font.set_size(100, 72)
    return font


def _advance(file: str, char: str) -> float | None:
    table = _advances(file)
    if char not in table:
        with _lock:  # a font object must not be used by two threads at once
            font = _face(file)
            known = font.get_char_index(ord(char)) != 0
            flags = ft2font.LoadFlags.NO_HINTING
            table[char] = font.load_char(ord(char), flags=flags).linearHoriAdvance / 65536 / 100 if known else None
    return table[char]


def visible(text: str) -> str:
    """The text on one line: control characters get their signs, so that a token is never invisible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _sign(c) for c in text)


def _sign(char: str) -> str:
    if unicodedata.category(char) == "Zs":
        return char if char == "\u2009" else " "
    return _VISIBLE.get(char, "␣" if char.isspace() else "␦")


@functools.lru_cache(20_000)
def runs(text: str, face: Face = Face()) -> tuple[FontRun, ...]:  # noqa: B008 - a constant
    """Split a text by the font that draws it; widths are in ems. A character that no font has becomes an empty box."""
    found: list[FontRun] = []
    for char in visible(text):
        for file in files(face):
            advance = _advance(file, char)
            if advance is not None:
                break
        else:
            char, file = _UNKNOWN, str(_MATPLOTLIB / "DejaVuSans.ttf")
            advance = _advance(file, char) or 0.0
        if found and found[-1].font == file:
            last = found[-1]
            found[-1] = FontRun(last.text + char, file, last.width + advance)
        else:
            found.append(FontRun(char, file, advance))
    return tuple(found)


def width(text: str, size: float, face: Face = Face()) -> float:  # noqa: B008
    """How wide a text is at a size."""
    return sum(run.width for run in runs(text, face)) * size


def fit(text: str, size: float, room: float, face: Face = Face()) -> str:  # noqa: B008
    """The text, cut with an ellipsis where it is too wide; a name keeps its end, for that is what tells names apart."""
    text = visible(text)
    if width(text, size, face) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if width(_cut(text, middle), size, face) <= room:
            low = middle
        else:
            high = middle - 1
    return _cut(text, low) if low else ""


def _cut(text: str, keep: int) -> str:
    if keep < 5 or len(text) > 60:
        return text[:keep].rstrip() + "…"
    front = keep - keep // 3
    return text[:front].rstrip() + "…" + text[len(text) - keep // 3 :]


@functools.cache
def _glyph(file: str, char: str) -> tuple[np.ndarray, np.ndarray]:
    with _lock:
        font = _face(file)
        font.load_char(ord(char), flags=ft2font.LoadFlags.NO_HINTING)
        vertices, codes = font.get_path()
    return vertices / 100, codes


@functools.lru_cache(20_000)
def outline(text: str, file: str) -> tuple[np.ndarray, np.ndarray]:
    """The outline of a run at a size of one, baseline at zero and y up: vertices and codes."""
    vertices, codes, at = [], [], 0.0
    for char in text:
        points, kinds = _glyph(file, char)
        vertices.append(points + (at, 0.0))
        codes.append(kinds)
        at += _advance(file, char) or 0.0
    return np.concatenate(vertices), np.concatenate(codes)


def wrap(text: str, size: float, room: float, face: Face = Face()) -> list[str]:  # noqa: B008
    """Break a text into lines at spaces; a word wider than the line is broken inside."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            trial = f"{line} {word}" if line else word
            if width(trial, size, face) <= room:
                line = trial
                continue
            if line:
                lines.append(line)
            while width(word, size, face) > room and len(word) > 1:
                keep = next(k for k in range(len(word) - 1, 0, -1) if k == 1 or width(word[:k], size, face) <= room)
                lines.append(word[:keep])
                word = word[keep:]
            line = word
        lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines
