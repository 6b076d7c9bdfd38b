"""Very many points: how many lie where, on the screen without WebGL and on paper."""

from __future__ import annotations

import numpy as np
import pytest

from diorama.core.marks import Group, Scatter
from diorama.core.marks.scatter import MANY, PLACES
from diorama.core.picture import Picture
from diorama.export.marks import draw
from diorama.export.sheet import Raster, TextLine
from diorama.export.style import Style


def _many(extra: int = 1) -> Scatter:
    points = np.zeros((MANY + extra, 2), np.float32)
    points[0], points[1], points[2] = (-1, -1), (1, 1), np.nan
    return Scatter(points=points, spans=((-2.0, 2.0), (-2.0, 2.0)))


def test_very_many_points_are_counted_where_they_lie() -> None:
    """The count of each place equals the points there, the highest row first; fewer points are not counted."""
    mark = _many()
    assert mark.crowd is not None
    assert mark.crowd.shape == (PLACES, PLACES)
    counted = np.rint(10 ** mark.crowd.astype(float) - 1)
    assert counted.sum() == MANY  # all but the one without a place
    assert counted[: PLACES // 2, PLACES // 2 :].sum() == MANY - 1, "those in the middle, and the one up on the right"
    assert counted[PLACES // 2 :, : PLACES // 2].sum() == 1
    nearer = mark.within({"0": (-0.5, 0.5), "1": (-0.5, 0.5)})
    assert nearer.crowd is not None
    assert np.rint(10 ** nearer.crowd.astype(float) - 1).sum() == MANY - 2, "counted anew"
    assert _many(0).crowd is None
    read = Picture.from_bytes(Picture(title="Many", body=Group(children=(mark,))).to_bytes())
    assert np.array_equal(read.body.children[0].crowd, mark.crowd)  # type: ignore[union-attr]


def test_paper_tells_how_many_points_lie_where() -> None:
    """A hundred thousand points are one small picture on paper, and the words say how many they are."""
    items = [item for item, _, _ in draw(_many(), Style()).items]
    assert next(item.cells.colours.shape for item in items if isinstance(item, Raster)) == (PLACES, PLACES, 3)
    assert len(items) < 20
    said = " ".join(item.text for item in items if isinstance(item, TextLine))
    assert "100,001 points" in said
    assert "1 without a place" in said


def test_a_film_shows_points_that_lie_close_together_first() -> None:
    """Points far narrower than a film's axes fill a third of them, stand where they stood in the whole, and the caption tells the scale."""
    points = np.array([[0.0, 0.0], [1.0, 0.5], [0.2, 1.0]])
    wide = {"0": (-60.0, 40.0), "1": (-20.0, 80.0)}

    def framed(size: float) -> Scatter:
        return Scatter(points=points * size, spans=((0.0, size), (0.0, size)), caption="Points.").within(wide)

    mark = framed(1.0)
    lengths = [high - low for low, high in mark.spans]
    assert lengths == pytest.approx([3.0, 3.0])
    (left, right), (low, high) = mark.spans
    assert left < 0 < 1 < right
    assert low < 0 < 1 < high
    assert -left / (lengths[0] - 1) == pytest.approx(60 / 99), "as much of the rest lies to the left as in the whole"
    assert -low / (lengths[1] - 1) == pytest.approx(20 / 99)
    assert mark.caption == "Points. Drawn at 33.3 times the scale of the film's widest frame."
    before, after = framed(33.33), framed(33.34)
    assert np.abs(np.asarray(before.spans) - after.spans).max() < 0.05, "as they grow, nothing jumps"
    assert after.spans == (wide["0"], wide["1"])
    assert after.caption == "Points."
