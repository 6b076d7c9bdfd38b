"""Melodies are written as tokens: names of notes, holds, rests and marks."""

from __future__ import annotations

import pytest

from diorama.data.melodies import Note, notes, pitch, sounding
from diorama.gallery.melody import VOCABULARY


def test_notes_have_their_pitches() -> None:
    """A note's name is its pitch in half tones, in sharps and in flats; other tokens have none."""
    assert [pitch(token) for token in ("A4", "C4", "C#4", "Db4", "Bb-1", "B♭3")] == [69, 60, 61, 61, 10, 58]
    assert [pitch(token) for token in ("", "-", ".", "H4", "C", "<C4>", "C44")] == [None] * 7


def test_a_note_lasts_until_another_begins_or_it_falls_silent() -> None:
    """Holds lengthen the note before them; a rest, a mark or the beginning leave a hold nothing to lengthen."""
    found = notes(["-", "<a>", "C4", "-", "-", "D4", ".", "-", "E4", "<b>", "-"])
    assert found == [Note(2, 3, 60), Note(5, 1, 62), Note(8, 1, 64)]
    assert notes([]) == notes(["-", "."]) == []


@pytest.mark.parametrize(("vocabulary", "answer"), [
    (VOCABULARY, True), (("C4", "D4", "E4", "-"), True), (("C4", "D4", "E4"), False), (("C4", "D4", "E4", "-", "word"), False),
    ((), False), (None, False), (tuple("ABC-.#4"), False),
])
def test_melodies_are_told_from_other_texts(vocabulary: tuple[str, ...] | None, answer: bool) -> None:
    """Tokens sound where they are notes, holds, rests and marks in brackets, and nothing else."""
    assert sounding(vocabulary) is answer
