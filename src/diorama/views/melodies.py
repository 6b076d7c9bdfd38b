"""Texts that are melodies, as rolls that can be heard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.colour import Limits
from ..core.errors import NotApplicable
from ..core.marks import Roll
from ..core.marks.roll import around
from ..data.melodies import EACH, TEMPO, notes, sounding
from ..scene import Scene
from . import texts

__all__ = ["roll", "sounds", "span"]


def sounds(scene: Scene) -> bool:
    """Whether the tokens that a network reads write melodies."""
    try:
        return sounding(texts.kind(scene).vocabulary)
    except NotApplicable:
        return False


def span(melodies: Sequence[Sequence[str]]) -> tuple[float, float]:
    """One range of pitches for some melodies."""
    return around(np.array([note.pitch for tokens in melodies for note in notes(tokens)]))


def roll(
    tokens: Sequence[str], title: str, *, values: np.ndarray | None = None, limits: Limits | None = None, keys: Sequence[str] = (),
    pitches: tuple[float, float] | None = None, aloud: bool = False, height: int = 96,
) -> Roll:
    """The melody that tokens write; values and keys are those of the tokens, a note has those of the token that begins it."""
    found = notes(tokens)
    places = np.array([note.place for note in found], np.int64)
    return Roll(
        starts=places * EACH, lengths=np.array([note.length * EACH for note in found], np.float64),
        pitches=np.array([note.pitch for note in found], np.float64), beats=len(tokens) * EACH, tempo=TEMPO, pitch_range=pitches,
        values=None if values is None else values[places], limits=None if values is None else limits,
        keys=tuple(keys[place] for place in places) if keys else (), title=title, aloud=aloud, height=height,
    )
