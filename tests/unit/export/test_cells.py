"""Colours on paper."""

from __future__ import annotations

import numpy as np
import pytest

from diorama.core.colour import Limits, magnitude, symmetric
from diorama.export import cells
from diorama.export.style import INK, PAPER, number, short


def test_zero_is_the_paper_and_the_ends_are_the_scale() -> None:
    """On a signed scale zero is white, the limits are blue and orange."""
    found = cells.colour(np.array([[-2.0, 0.0, 2.0]]), symmetric([2.0])).colours[0]
    assert found[1].tolist() == cells.bytes_of(PAPER).tolist()
    assert found[2][2] > found[2][0]
    assert found[0][0] > found[0][2]


def test_the_colour_bar_shows_what_the_cells_show() -> None:
    """Evenly spaced values get the colour table itself."""
    for scale in ("diverging", "magnitude", "grey", "probability"):
        table = cells.table(scale)
        values = np.linspace(-1, 1, len(table))[None]
        drawn = cells.colour(values, Limits(low=-1, high=1, scale=scale))  # type: ignore[arg-type]
        assert np.array_equal(drawn.colours[0], table)


def test_special_numbers_look_different() -> None:
    """NaN is hatched grey on paper, infinity is solid magenta, a clipped cell has a notch of ink."""
    found = cells.colour(np.array([[np.nan, np.inf, 5.0, 0.5]]), Limits(low=0, high=1)).enlarged(80, 20)[..., :3]
    nan, infinite, clipped, plain = (found[:, 20 * k : 20 * (k + 1)].reshape(-1, 3) for k in range(4))
    assert {tuple(p) for p in nan.tolist()} == {tuple(cells.bytes_of(PAPER)), tuple(cells.bytes_of(cells.NAN_INK))}
    assert {tuple(p) for p in infinite.tolist()} == {tuple(cells.bytes_of(cells.INFINITE))}
    assert 0 < (clipped == cells.bytes_of(INK)).all(1).sum() < 100
    assert len({tuple(p) for p in plain.tolist()}) == 1


def test_enlarging_repeats_cells_exactly() -> None:
    """Enlarged by a whole number every cell is a square of one colour; shrinking averages."""
    images = np.random.default_rng(0).integers(0, 255, (4, 4, 3)).astype(np.uint8)
    large = cells.Cells(images).enlarged(20, 20)
    assert np.array_equal(large[..., :3], np.kron(images, np.ones((5, 5, 1), np.uint8)))
    assert cells.Cells(np.full((100, 100, 3), 7, np.uint8)).enlarged(10, 10)[..., :3].tolist() == [[[7] * 3] * 10] * 10


def test_a_file_that_scales_pictures_gets_their_own_pixels() -> None:
    """For SVG and PDF plain pictures stay as small as they are; marked ones grow by a whole number."""
    plain = cells.colour(np.ones((3, 4)), magnitude([0, 1.0]))
    assert plain.enlarged(120, 90, whole=True).shape == (3, 4, 4)
    marked = cells.colour(np.full((3, 4), np.nan), magnitude([0, 1.0]))
    assert marked.enlarged(120, 90, whole=True).shape == (90, 120, 4)


def test_floats_and_alpha_become_colours_on_paper() -> None:
    """Colours from 0 to 1 are bytes of the same; transparent pixels show the paper."""
    image = np.zeros((1, 2, 4))
    image[0, 0] = (1, 0, 0, 1)
    assert cells.pixels(image).colours.tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_heat_without_weight_leaves_the_picture_grey() -> None:
    """Where heat is zero the picture shows in grey; where it is strong, the heat's colour."""
    base = cells.Cells(np.full((1, 3, 3), 100, np.uint8))
    found = cells.heated(base, np.array([[0.0, 1.0, -1.0]]), symmetric([1.0])).colours[0].astype(int)
    assert np.ptp(found[0]) == 0
    assert found[1][2] > found[1][0] + 50
    assert found[2][0] > found[2][2] + 50


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3, "3"), (0.5, "0.500"), (-1.25, "−1.25"), (14802, "14,802"), (1e-9, "10⁻⁹"),
     (-2.5e9, "−2.5 × 10⁹"), (0.000068, "0.000068"), (6.8e-7, "6.8 × 10⁻⁷"),
     (float("nan"), "NaN")],
)
def test_numbers_have_the_digits_they_deserve(value: float, text: str) -> None:
    """Three digits, thousands apart, powers of ten where needed, a true minus."""
    assert number(value) == text


def test_legends_drop_zeros_at_the_end() -> None:
    """A legend says 0.5, not 0.500, and keeps the zeros of whole numbers."""
    assert [short(v) for v in (0.5, 100.0, 0.12)] == ["0.5", "100", "0.12"]
