"""Handwritten digits as a file of MNIST's make, from those that scikit-learn brings along: every clone has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

MNIST = Path(__file__).parents[2] / "shared" / "data" / "images" / "mnist.npz"
"""The real one, where it lies beside the checkout."""


def written(path: Path) -> Path:
    """A file of 1,200 digits to learn from and 500 held out, of 28 × 28 pixels."""
    pixels, y = load_digits(return_X_y=True)
    large = np.kron((pixels.reshape(-1, 8, 8) * 15.9375).astype(np.uint8), np.ones((1, 3, 3), np.uint8))
    x = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    labels = y.astype(np.uint8)
    np.savez(path, x_train=x[:1200], y_train=labels[:1200], x_test=x[1200:1700], y_test=labels[1200:1700])
    return path


def file(which: str, folder: Path) -> tuple[Path, int, int]:
    """The real file or one of our own, and how many digits it has to learn from and held out; skips without the real one."""
    if which == "own":
        return written(folder / "digits.npz"), 1200, 500
    if not MNIST.is_file():
        pytest.skip("the real file is not here")
    return MNIST, 15_000, 10_000
