"""A drawing on the pad comes out as the data was made."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from diorama.data.drawing import Drawing


def _pen(points: list[tuple[float, float]], size: int, at: tuple[float, float], width: float) -> np.ndarray:
    """A stroke through points (of 0 to 1) on a canvas of 280 × 280."""
    rows, columns = np.mgrid[:280, :280]
    canvas = np.zeros((280, 280), np.uint8)
    for (y0, x0), (y1, x1) in zip(points[:-1], points[1:], strict=True):
        for t in np.linspace(0, 1, 60):
            y, x = at[0] + size * (y0 + t * (y1 - y0)), at[1] + size * (x0 + t * (x1 - x0))
            canvas[(rows - y) ** 2 + (columns - x) ** 2 <= (width / 2) ** 2] = 255
    return canvas


SEVEN = [(0.0, 0.0), (0.0, 0.6), (1.0, 0.2)]


def _data(paper: float = 0.0, ink: float = 1.0, margin: int = 4) -> np.ndarray:
    """Crosses of two pixels' thickness in a frame of 28 × 28, their middle at the middle, like drawn ones."""
    images = np.full((12, 28, 28), paper, np.float32)
    for k, image in enumerate(images):
        half = 10 - (k % 3)
        middle = 10 + margin
        image[middle - 1 : middle + 1, middle - half : middle + half] = ink
        image[middle - 10 : middle + 10, middle - 1 : middle + 1] = ink
    return images


@pytest.mark.parametrize(("paper", "ink"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (0.0, 255.0)])
def test_polarity_and_levels_follow_the_data(paper: float, ink: float) -> None:
    """Black on white stays black on white, and the levels are the data's own."""
    drawing = Drawing.fit(_data(paper, ink))
    assert drawing is not None
    made = drawing.prepare(_pen(SEVEN, 150, (60, 60), 20))
    assert made.shape == (28, 28)
    assert made[0, 0] == pytest.approx(paper)
    strongest = made.max() if ink > paper else made.min()
    assert strongest == pytest.approx(ink, abs=0.25 * abs(ink - paper))
    np.testing.assert_array_equal(drawing.prepare(np.zeros((280, 280), np.uint8)), np.full((28, 28), paper, np.float32))


@pytest.mark.parametrize(("size", "width"), [(60, 8), (120, 8), (120, 24), (220, 8), (220, 30)])
@pytest.mark.parametrize("at", [(20, 20), (30, 100)])
def test_size_place_and_thickness_of_the_drawing_do_not_matter(
    size: int, at: tuple[float, float], width: float
) -> None:
    """The same figure drawn small or large, here or there, with a thin or thick pen, comes out nearly the same."""
    drawing = Drawing.fit(_data())
    assert drawing is not None
    made = drawing.prepare(_pen(SEVEN, size, at, width))
    wanted = drawing.prepare(_pen(SEVEN, 160, (50, 80), 16))
    assert np.corrcoef(made.ravel(), wanted.ravel())[0, 1] > 0.9
    rows = np.flatnonzero((made > 0.5).any(1))
    assert abs((rows[-1] - rows[0] + 1) - 20) <= 2


def test_what_is_no_drawing_has_none() -> None:
    """Photographs, plain images and broken numbers are not taken for drawings."""
    generator = np.random.default_rng(0)
    assert Drawing.fit(generator.uniform(0, 1, (20, 28, 28))) is None
    assert Drawing.fit(np.zeros((20, 28, 28))) is None
    assert Drawing.fit(np.full((20, 28, 28), np.nan)) is None
    assert Drawing.fit(np.zeros((0, 28, 28))) is None


def test_dots_and_full_canvases_are_prepared() -> None:
    """A single dot and a canvas full of ink give finite images."""
    drawing = Drawing.fit(_data())
    assert drawing is not None
    dot = np.zeros((280, 280), np.uint8)
    dot[100, 100] = 255
    for canvas in (dot, np.full((280, 280), 255, np.uint8), _pen([(0, 0), (0, 0.01)], 100, (5, 5), 30)):
        assert np.isfinite(drawing.prepare(canvas)).all()


def test_a_drawing_is_stored_as_plain_data() -> None:
    """What was learned about the data comes back from JSON."""
    drawing = Drawing.fit(_data())
    assert drawing is not None
    assert Drawing.from_json(drawing.to_json()) == drawing


def test_redrawn_digits_are_still_read() -> None:
    """Real digits enlarged, made black and white, moved and scaled, then prepared, lie next to their own kind."""
    from skimage.transform import AffineTransform, resize, warp

    digits = load_digits()
    images = np.pad(digits.images.astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    reader = KNeighborsClassifier(3).fit(images[:1300].reshape(1300, -1), digits.target[:1300])
    drawing = Drawing.fit(images[:1300])
    assert drawing is not None
    generator = np.random.default_rng(1)
    right = []
    for image, label in zip(images[1400:1520], digits.target[1400:1520], strict=True):
        large = (resize(image / 16, (200, 200), order=3) > 0.5).astype(np.float32)
        scale, shift = generator.uniform(0.6, 1.2), generator.uniform(-25, 25, 2)
        back = AffineTransform(scale=(1 / scale, 1 / scale), translation=tuple(100 - (140 + shift) / scale))
        canvas = (warp(large, back, output_shape=(280, 280), order=1) > 0.5).astype(np.uint8) * 255
        right.append(reader.predict(drawing.prepare(canvas).reshape(1, -1))[0] == label)
    assert np.mean(right) >= 0.85
