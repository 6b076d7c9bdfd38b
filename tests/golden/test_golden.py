"""Figures look as they did."""

from __future__ import annotations

import numpy as np
import pytest
from golden import HERE, drawn
from paper import PICTURES
from PIL import Image


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_looks_as_it_did(name: str) -> None:
    """A figure equals its golden picture, up to the smoothing of edges; made by python tests/golden/golden.py."""
    with Image.open(HERE / f"{name}.png") as opened:
        wanted = np.array(opened.convert("RGB"), np.int16)
    found = drawn(name).astype(np.int16)
    assert found.shape == wanted.shape, "the figure's size changed; look at it, then make the golden pictures anew"
    difference = np.abs(found - wanted).max(-1)
    far = (difference > 48).mean()
    assert far < 0.004, f"{far:.2%} of the pixels look different"
    assert difference.mean() < 3


def test_every_golden_picture_has_its_sample() -> None:
    """No golden picture outlives the sample that it shows."""
    assert {path.stem for path in HERE.glob("*.png")} == set(PICTURES)
