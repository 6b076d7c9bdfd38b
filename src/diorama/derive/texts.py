"""Properties of a text that a cell may keep in mind, as a number for each token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_QUOTES = "\"'"


def _inside_quotes(text: str) -> Floats:
    """1 from an opening quote to its end; a line's end closes it, as an apostrophe is no quote for long."""
    found = np.zeros(len(text))
    opener = ""
    for k, letter in enumerate(text):
        if letter == "\n":
            opener = ""
        elif opener and letter == opener:
            opener = ""
            found[k] = 1
            continue
        # An apostrophe in a word does not open a quote.
        elif not opener and letter in _QUOTES and not (letter == "'" and k and text[k - 1].isalnum()):
            opener = letter
        found[k] = bool(opener)
    return found


def _line_position(text: str) -> Floats:
    """How many characters lie between the line's start and here."""
    found, at = np.zeros(len(text)), 0
    for k, letter in enumerate(text):
        found[k] = at
        at = 0 if letter == "\n" else at + 1
    return found


def _indentation(text: str) -> Floats:
    """How many blanks the line begins with, as far as they are read."""
    found, depth, begun = np.zeros(len(text)), 0, False
    for k, letter in enumerate(text):
        if letter == "\n":
            depth, begun = 0, False
        elif not begun and letter in " \t":
            depth += 4 if letter == "\t" else 1
        else:
            begun = True
        found[k] = depth
    return found


def _depth(text: str) -> Floats:
    """How many brackets are open."""
    found, depth = np.zeros(len(text)), 0
    for k, letter in enumerate(text):
        depth = max(0, depth + (letter in "([{") - (letter in ")]}"))
        found[k] = depth
    return found


def _in_comment(text: str) -> Floats:
    """1 from a # to the end of the line."""
    found, inside = np.zeros(len(text)), False
    for k, letter in enumerate(text):
        inside = letter != "\n" and (inside or letter == "#")
        found[k] = inside
    return found


def _word_position(text: str) -> Floats:
    """How many letters of the word have been read."""
    found, at = np.zeros(len(text)), 0
    for k, letter in enumerate(text):
        at = at + 1 if letter.isalnum() or letter == "_" else 0
        found[k] = at
    return found


def _each(test: Callable[[str], bool]) -> Callable[[str], Floats]:
    return lambda text: np.array([float(test(letter)) for letter in text])


PROPERTIES: dict[str, Callable[[str], Floats]] = {
    "inside quotes": _inside_quotes,
    "position in the line": _line_position,
    "indentation": _indentation,
    "open brackets": _depth,
    "comment": _in_comment,
    "position in the word": _word_position,
    "digit": _each(str.isdigit),
    "uppercase": _each(str.isupper),
    "blank": _each(str.isspace),
    "line end": _each(lambda letter: letter == "\n"),
}
"""By name: a number for each character of a text."""


def properties(tokens: Sequence[str]) -> Floats:
    """All properties at the first character of each token, (properties, tokens)."""
    text = "".join(token or " " for token in tokens)
    starts = np.cumsum([0, *(len(token or " ") for token in tokens)])[:-1].astype(int)
    return np.stack([measure(text)[starts] for measure in PROPERTIES.values()])
