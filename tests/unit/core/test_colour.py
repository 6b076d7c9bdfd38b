"""Colours: the diverging scale is honest, and OKLab is OKLab."""

from __future__ import annotations

import numpy as np
import pytest

from diorama.core.colour import class_colour, diverging, from_oklab, magnitude, rgb, to_oklab


def test_oklab_matches_its_author() -> None:
    """Published pairs of the OKLab page (XYZ converted to linear sRGB by hand): white is L = 1, red is as printed there."""
    np.testing.assert_allclose(to_oklab(np.ones(3)), [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(to_oklab(np.array([1.0, 0, 0])), [0.62796, 0.22486, 0.12585], atol=1e-4)


def test_oklab_and_back() -> None:
    """Colours of the gamut come back unchanged."""
    colours = np.random.default_rng(0).random((100, 3))
    np.testing.assert_allclose(from_oklab(to_oklab(colours)), colours, atol=1e-6)


@pytest.mark.parametrize("paper", ["#ffffff", "#fbfaf8", "#131417"])
def test_zero_is_the_paper_and_the_arms_are_equally_strong(paper: str) -> None:
    """The middle of the signed scale is the paper itself, and both arms change lightness alike."""
    table = diverging(paper)
    assert "#" + "".join(f"{c:02x}" for c in table[128]) == paper
    lightness = to_oklab(table / 255.0)[:, 0]
    assert np.abs(lightness - lightness[::-1]).max() < 0.02


def test_magnitudes_start_at_zero() -> None:
    """A map without negative values starts at zero; a constant map still has a range."""
    assert magnitude(np.array([2.0, 5.0])).low == 0
    assert magnitude(np.zeros(3)).high > 0
    assert magnitude(np.array([-1.0, 5.0])).low == -1


def test_thirty_classes_have_colours_of_their_own() -> None:
    """No two of the first thirty are nearer than an eye tells apart side by side; the first ten are as they always were."""
    lab = to_oklab(np.array([rgb(class_colour(k)) for k in range(30)]))
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + np.eye(30)
    assert apart.min() > 0.04
    assert class_colour(0) == "#3f90da"
    assert class_colour(30) == class_colour(0)
