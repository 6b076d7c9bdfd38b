"""Melodies written as tokens: a note's name begins it, a dash holds it, a dot is silent; each takes half a beat."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

HOLD, REST = "-", "."
EACH = 0.5
"""Beats of a token."""
MIDDLE_C = 60
"""Its pitch."""
TEMPO = 150.0
"""Beats a minute."""
_NOTE = re.compile(r"([A-G])([#b♯♭]?)(-?\d)")
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@dataclasses.dataclass(frozen=True)
class Note:
    """A note, by the token that begins it; start and length in tokens, the pitch in half tones (69 is the A of 440 Hz)."""

    place: int
    length: int
    pitch: int


def pitch(token: str) -> int | None:
    """The pitch that a token names; None where it names none."""
    found = _NOTE.fullmatch(token)
    if found is None:
        return None
    name, sign, octave = found.groups()
    return _STEPS[name] + {"#": 1, "♯": 1, "b": -1, "♭": -1}.get(sign, 0) + 12 * (int(octave) + 1)


def is_mark(token: str) -> bool:
    """Whether a token stands in brackets: it says something about a text and is none of it."""
    return len(token) > 2 and token[0] + token[-1] in ("<>", "[]")


def sounding(vocabulary: Sequence[str] | None) -> bool:
    """Whether tokens write melodies: they name at least three notes, hold them, and say nothing else but rests and marks in brackets."""
    if HOLD not in (vocabulary or ()):
        return False
    found = 0
    for token in vocabulary or ():
        if pitch(token) is not None:
            found += 1
        elif token not in (HOLD, REST, "", " ") and not is_mark(token):
            return False  # the first word of a language tells, of whose vocabulary the rest is not read
    return found >= 3


def notes(tokens: Sequence[str]) -> list[Note]:
    """The notes of a melody. What holds where nothing sounds is silent, and so is a mark in brackets."""
    found: list[Note] = []
    held = False
    for place, token in enumerate(tokens):
        number = pitch(token)
        if number is not None:
            found.append(Note(place, 1, number))
            held = True
        elif token == HOLD and held:
            found[-1] = dataclasses.replace(found[-1], length=found[-1].length + 1)
        else:
            held = False
    return found
