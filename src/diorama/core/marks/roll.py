"""A melody as a roll: notes over time, as high as their pitch."""

from __future__ import annotations

import numpy as np

from ..colour import Limits
from ..errors import UsageError
from .mark import Array, Mark, Range, check_length

NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")


class Roll(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A melody as a roll: every note a bar over time, as high as its pitch. In a browser it can be heard."""

    starts: Array  # (notes,) in beats from the beginning, none before the note in front of it
    lengths: Array  # (notes,) in beats
    pitches: Array  # (notes,) in half tones, 69 is the A of 440 Hz
    beats: float  # how long it is, rests included
    tempo: float = 120.0  # beats a minute
    pitch_range: tuple[float, float] | None = None
    values: Array | None = None  # (notes,)
    limits: Limits | None = None
    keys: tuple[str, ...] = ()
    aloud: bool = False  # it sounds by itself where a click put it in the place of another
    height: int = 96

    def __post_init__(self) -> None:
        count = len(self.starts)
        for name in ("lengths", "pitches", "values", "keys"):
            told = getattr(self, name)
            if told is not None and (len(told) or name in ("lengths", "pitches")):
                check_length(self, name, len(told), count)
        if self.values is not None and self.limits is None:
            raise UsageError("a roll of values needs limits")
        if not 1 <= self.tempo <= 1000:
            raise UsageError(f"a tempo wants 1 to 1000 beats a minute, got {self.tempo:g}")

    def pitch_span(self) -> Range:
        """The range of the pitches: its own, or that of the notes with a little room."""
        return self.pitch_range or around(self.pitches)

    def ranges(self) -> dict[str, Range]:
        """The pitches stay at their places over a film."""
        return {"pitch_range": self.pitch_span()}


def around(pitches: Array) -> Range:
    """A range with room for some pitches: a half tone more on each side, an octave and a half tone each at least."""
    low, high = (float(np.min(pitches)), float(np.max(pitches))) if len(pitches) else (60.0, 72.0)
    more = max(2.0, 14 - (high - low)) / 2
    return low - more, high + more


def pitch_name(pitch: float) -> str:
    """What musicians call a pitch: 60 is C4."""
    number = round(pitch)
    return f"{NAMES[number % 12]}{number // 12 - 1}"
