"""What the sample pictures are made from: digits, and maps of random filters."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from diorama.core import marks
from diorama.core.picture import Picture
from diorama.core.provenance import Provenance

DIGITS = load_digits()
NAMES = tuple(str(i) for i in range(10))
HOSTILE = '<img src=x onerror="document.title=1">'


def picture(title: str, body: marks.Node, caption: str = "", **rest: object) -> Picture:
    made = Provenance(method=title, sentence="Made for the tests.", knobs={"smoothing": 16}, seed=0, source="none")
    return Picture(title=title, body=body, caption=caption, provenance=made, step=495, **rest)  # type: ignore[arg-type]


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return np.kron(image, np.ones((factor, factor), image.dtype))


def random_maps(count: int, size: int, seed: int) -> np.ndarray:
    """Rectified responses of random 3 × 3 filters to a digit, strongest first."""
    generator = np.random.default_rng(seed)
    image = DIGITS.images[3] / 16
    padded = np.pad(enlarge(image, max(1, size // 8)), 1)
    height = padded.shape[0] - 2
    found = []
    for _ in range(count):
        kernel = generator.normal(size=(3, 3))
        shifted = [padded[i : i + height, j : j + height] * kernel[i, j] for i in range(3) for j in range(3)]
        found.append(np.maximum(sum(shifted), 0))
    maps = np.stack(found).astype(np.float32)
    return maps[np.argsort(-maps.max((1, 2)))]
