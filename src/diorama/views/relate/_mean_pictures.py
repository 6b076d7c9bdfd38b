"""The mean pictures of two groups of examples, and in what they differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...core.colour import symmetric
from ...core.marks import Image
from ...derive.derivations.shared import CHANNELS
from ...scene import Scene
from ...scene.input import pictured
from .. import inputs

GREY = 0.2
"""Where colours differ among each other by less than this part of the largest difference, it is one of brightness."""


def means(scene: Scene, one: NDArray[np.int64], other: NDArray[np.int64], titles: tuple[str, str]) -> list[Image]:
    """Both means and their difference, −1 to 1 from black to white; none where examples are no pictures of one size.

    Where they differ in colour, the difference is told of red, green and blue on one scale: their mean would say that they hardly differ.
    """
    images = [pictured(scene.live, [int(k) for k in which]) for which in (one, other)]
    if images[0] is None or images[1] is None:
        return []
    first, second = (np.asarray(each, np.float64).mean(0) for each in images)
    found: list[Image] = []
    for title, mean in zip(titles, (first, second), strict=True):
        pixels = mean.round().astype(np.uint8)
        found.append(Image(title=title, pixels=pixels, limits=inputs.grey(pixels) if pixels.ndim == 2 else None, size=110))
    apart = (first - second) / 255
    if apart.ndim == 2:
        return [*found, Image(title="Difference", pixels=apart, limits=symmetric(apart), size=110)]
    if np.ptp(apart, axis=-1).max() <= GREY * np.abs(apart).max():
        apart = apart.mean(-1)
        return [*found, Image(title="Difference, the same in all colours", pixels=apart, limits=symmetric(apart), size=110)]
    limits = symmetric(apart)
    return [*found, *(
        Image(title=f"Difference in {name}", pixels=np.ascontiguousarray(apart[..., k]), limits=limits, size=110) for k, name in enumerate(CHANNELS)
    )]
