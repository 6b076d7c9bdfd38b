"""Ticks of axes."""

from __future__ import annotations

import numpy as np

from diorama.core.marks import Lines, Series
from diorama.export.axes import Axis
from diorama.export.marks.lines import _whole


def test_an_axis_of_whole_numbers_has_none_between_them() -> None:
    """Five layers have five ticks at most, however many are wanted; other numbers get the steps they need."""
    assert [label for _, label in Axis(1, 5, 0, 400, whole=True).ticks(12)] == ["1", "2", "3", "4", "5"]
    assert "1.5" in [label for _, label in Axis(1, 5, 0, 400).ticks(12)]
    assert [label for _, label in Axis(0, 700, 0, 400, whole=True).ticks(4)] == ["0", "200", "400", "600"]


def test_lines_over_whole_numbers_are_known() -> None:
    """Layers and steps are whole, times and other numbers are not."""
    x, y = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    assert _whole(Lines(series=(Series(name="a", x=x, y=y),), x_kind="number"))
    assert _whole(Lines(series=(Series(name="a", x=x, y=y),)))
    assert not _whole(Lines(series=(Series(name="a", x=x / 2, y=y),), x_kind="number"))
    assert not _whole(Lines(series=(Series(name="a", x=x, y=y),), x_kind="time"))
