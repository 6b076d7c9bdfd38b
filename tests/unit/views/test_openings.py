"""How the page's rooms arrange themselves: one screenful, by what the input, the task and the network are."""

from __future__ import annotations

import itertools

import pytest

from diorama.core.registry import views
from diorama.record.nature import INPUTS, NETWORKS, TASKS, WORDS, nature
from diorama.views.view import ROWS, Opening, Place, Room, rooms

OPENINGS = [(room, opening) for room in rooms() for opening in room.openings]


def _named(case: tuple[Room, Opening]) -> str:
    return f"{case[0].name}-{'-'.join(case[1].when) or 'else'}"


def _opened(room: str, *when: str) -> Opening:
    found = next(one for one in rooms() if one.name == room)
    return next(opening for opening in found.openings if set(opening.when) <= set(when))


@pytest.mark.parametrize("case", OPENINGS, ids=map(_named, OPENINGS))
def test_an_opening_is_one_screenful(case: tuple[Room, Opening]) -> None:
    """What a room opens on stands whole in the rows that are in sight, and names words that a run's nature may have."""
    _, opening = case
    assert set(opening.when) <= WORDS
    for places in (opening.training, opening.input):
        assert 0 < len(places) <= 6
        assert len({place.view for place in places}) == len(places)
        assert _height(places) <= ROWS
        assert {place.view for place in places} <= set(views)


def test_every_run_finds_an_opening() -> None:
    """A room with openings has one for any data, task and network, even those of which nothing is known."""
    for room in rooms():
        for words in itertools.product(("", *INPUTS), ("", *TASKS), ("", *NETWORKS)):
            if room.openings:
                assert any(set(opening.when) <= set(words) for opening in room.openings)


def test_what_a_user_came_for_stands_first() -> None:
    """Points in a plane open on their boundary, texts on the coloured text, all else on the layers' health, tables on no
    matrix of weights."""
    assert _opened("training", "plane", "table", "classification").training[0].view == "boundary"
    assert _opened("training", "text", "next_token", "recurrent").training[0].view == "cells"
    assert _opened("training", "text", "classification").training[0].view == "words"
    assert _opened("why", "text", "classification").training[0].view == "words"
    assert _opened("unit", "text", "next_token", "recurrent").training[0].view == "cells"
    assert _opened("training", "image", "classification").training[0].view == "health"
    for room in ("training", "why", "unit"):
        for mode in ("training", "input"):
            first = getattr(_opened(room, "table", "regression"), mode)[0].view
            assert first not in ("weights", "distributions", "confusion")


def test_the_nature_of_runs() -> None:
    """A run's words follow from how its inputs are described, its task and its layers; strange descriptions say nothing."""
    assert nature({"kind": "table", "columns": ["x", "y"]}, "classification", ["Linear"]) == [
        "classification", "plane", "table",
    ]
    assert nature({"kind": "table", "columns": ["a", "b", "c"]}, "regression", []) == ["regression", "table"]
    assert nature({"kind": "tokens"}, "next_token", ["Embedding", "LSTM"]) == ["next_token", "recurrent", "text"]
    assert nature({"kind": "tokens"}, None, ["MultiheadAttention", None]) == ["attention", "text"]
    both = {"picture": {"kind": "image"}, "numbers": {"kind": "table", "columns": ["a"]}}
    assert nature(both, "multi_label", []) == ["image", "multi_label", "table"]
    assert nature(None, "guessing", []) == nature({"kind": 3, "a": 1}, "", []) == []


def _height(places: tuple[Place, ...]) -> int:
    """The rows that places need when each goes into the first gap that takes it, as the page lays them out."""
    taken: set[tuple[int, int]] = set()
    for place in places:
        spot = next(
            cells
            for row in itertools.count()
            for column in range(13 - place.columns)
            if not (cells := {(row + r, column + c) for r in range(place.rows) for c in range(place.columns)}) & taken
        )
        taken |= spot
    return 1 + max(row for row, _ in taken)
