"""Ticks of axes."""

from __future__ import annotations

import numpy as np

from diorama.core.marks import Group, Lines, Ridges, RidgeSet, Series
from diorama.export.axes import Axis
from diorama.export.marks import draw as draw_any
from diorama.export.marks.lines import _whole
from diorama.export.marks.ridges import draw
from diorama.export.sheet import Shape
from diorama.export.style import ACCENT, Style


def test_an_axis_of_whole_numbers_has_none_between_them() -> None:
    """Five layers have five ticks at most, however many are wanted; other numbers get the steps they need."""
    assert [label for _, label in Axis(1, 5, 0, 400, whole=True).ticks(12)] == ["1", "2", "3", "4", "5"]
    assert "1.5" in [label for _, label in Axis(1, 5, 0, 400).ticks(12)]
    assert [label for _, label in Axis(0, 700, 0, 400, whole=True).ticks(4)] == ["0", "200", "400", "600"]


def test_an_axis_tells_its_scale() -> None:
    """However few ticks are wanted, two numbers stand at an axis: one alone tells no scale."""
    rng = np.random.default_rng(0)
    for low, wide in zip(rng.normal(size=200), rng.exponential(size=200), strict=True):
        assert len(Axis(low, low + wide, 0, 80).ticks(2)) >= 2


def test_no_ridge_reaches_above_its_own_place() -> None:
    """One ridge alone, and the highest of several at the top, stay below the title."""
    peak, low = np.array([0.0, 1.0, 0.0]), np.array([0.2, 0.1, 0.2])
    for rows in ([peak], [peak, low, low], [low, low, peak]):
        edges = np.linspace(0.0, 3.0, 4)
        drawn = draw(Ridges(sets=(RidgeSet(name="a", steps=np.arange(float(len(rows))), edges=edges, density=np.stack(rows)),)), Style(width=300.0))
        assert min(float(item.path.vertices[:, 1].min()) + y for item, _, y in drawn.items if isinstance(item, Shape)) >= 0


def test_lines_over_whole_numbers_are_known() -> None:
    """Layers and steps are whole, times and other numbers are not."""
    x, y = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    assert _whole(Lines(series=(Series(name="a", x=x, y=y),), x_kind="number"))
    assert _whole(Lines(series=(Series(name="a", x=x, y=y),)))
    assert not _whole(Lines(series=(Series(name="a", x=x / 2, y=y),), x_kind="number"))
    assert not _whole(Lines(series=(Series(name="a", x=x, y=y),), x_kind="time"))


def test_charts_below_one_another_have_one_x_axis() -> None:
    """Over one stretch the cursors of charts in a column stand at one place, however wide labels are; a chart over another keeps its own."""
    x = np.arange(11.0)

    def chart(scale: float, *names: str, last: float = 10.0) -> Lines:
        series = tuple(Series(name=name, x=x, y=scale * x, colour=k) for k, name in enumerate(names))
        return Lines(series=series, cursor=4.0, x_range=(0.0, last), x_kind="number")

    def cursors(*charts: Lines) -> list[float]:
        drawn = draw_any(Group(children=charts, direction="column"), Style(width=420.0))
        return [float(item.path.vertices[0, 0]) + at for item, at, _ in drawn.items if isinstance(item, Shape) and item.stroke == ACCENT]

    one, other, apart = chart(1.0, "input gate", "forget gate"), chart(1e5, "c"), chart(1.0, "c", last=40.0)
    first, second, third = cursors(one, other, apart)
    assert first == second
    assert cursors(one) != cursors(other), "the labels alone would set them apart"
    assert third == cursors(apart)[0]
