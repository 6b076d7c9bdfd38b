"""Strokes of a pen: told from other numbers, drawn by hand, and as small pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diorama.core.errors import UsageError
from diorama.data import kinds
from diorama.data.strokes import drawn, inked, lines

ROWS = torch.tensor([[[-2.0, 1.0, 0], [1.0, 0.0, 1], [0.0, -3.0, 0], [2.0, 0.0, 1]]])


def test_strokes_are_told_from_series() -> None:
    """Rows whose third number is a pen are guessed to be strokes; other series stay series, and a stored kind is read back."""
    kind, said = kinds.guess(ROWS)
    assert isinstance(kind, kinds.Strokes)
    assert "pen" in said
    assert not isinstance(kinds.guess(ROWS * 1.5)[0], kinds.Strokes)
    assert not isinstance(kinds.guess(torch.zeros(3, 4, 3))[0], kinds.Strokes)
    assert kinds.from_json(kinds.to_json(kind)) == kind
    assert kind.step == 2.0
    assert kind.half == pytest.approx(2.3)


def test_ink_lies_where_the_pen_is_down() -> None:
    """Lines join the points between which the pen was not lifted, and a picture is dark on them alone, its highest y on top."""
    pieces = lines(ROWS[0].numpy())
    assert pieces.tolist() == [[-2, 1, -1, 1], [-1, -2, 1, -2]]
    picture = inked(pieces, 4.0, 48)
    dark = picture < 128
    assert dark[18, 13:17].all()
    assert dark[36, 19:29].all()
    assert not dark[19:35].any()
    kind = kinds.Strokes(half=4.0)
    assert np.array_equal(kind.pictured(ROWS)[0], picture)


def test_a_line_drawn_by_hand_becomes_steps() -> None:
    """A line is walked in steps of the usual length from (0, 0) to its beginning and on to its end; another text is refused."""
    rows = drawn("1,1;1,3;4,3", 0.5)
    assert len(rows) == 11
    assert rows[0].tolist() == [1, 1, 0]
    np.testing.assert_allclose(np.hypot(rows[1:, 0], rows[1:, 1]), 0.5)
    np.testing.assert_allclose(rows[:, :2].sum(0), [4, 3])
    assert drawn("2,1", 0.5).tolist() == [[2, 1, 0]]
    two = drawn("0,0;1,0|0,2;1,2", 0.5)
    assert two.tolist() == [[0, 0, 0], [0.5, 0, 0], [0.5, 0, 1], [-1, 2, 0], [0.5, 0, 0], [0.5, 0, 0]]
    assert lines(two).tolist() == [[0, 0, 0.5, 0], [0.5, 0, 1, 0], [0, 2, 0.5, 2], [0.5, 2, 1, 2]]
    for bad in ("", "1;2", "a,b", "1,2,3", "nan,1", "1,inf", "1e300,0", "1,1|a", "|"):
        with pytest.raises(UsageError, match="x,y;x,y"):
            drawn(bad, 0.5)


def test_rows_are_read_and_other_shapes_refused() -> None:
    """Rows of three numbers, a list or a line, are an input; what is none is refused in words."""
    kind = kinds.Strokes().fitted(ROWS)
    assert kind.encode(ROWS[0].tolist()).equal(ROWS)
    assert kind.encode({"kind": "text", "text": "0,0;4,0"}).shape == (1, 3, 3)
    for bad in ([[1, 2]], [], "hello", object()):
        with pytest.raises(UsageError):
            kind.encode(bad)
    with pytest.raises(UsageError, match="shape"):
        kinds.Strokes().fitted(torch.zeros(2, 5))
