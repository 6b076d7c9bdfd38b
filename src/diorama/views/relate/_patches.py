"""What drives the units of clusters most, as one picture a cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.errors import NotApplicable
from ...derive.scanning import seen
from ...scene import Scene
from ..crops import GREY, chosen, smaller
from ._columns import MapColumn

SIDE = 26
"""Pixels of one patch at most."""


def patches(scene: Scene, columns: Sequence[MapColumn]) -> dict[str, np.ndarray]:
    """For each cluster up to nine of its units, each by the part of an example that drives it most, in a square."""
    found: dict[str, np.ndarray] = {}
    for column in columns:
        layer = scene.layers[column.layer]
        try:
            seen_ = seen(scene, layer)
        except NotApplicable:
            continue
        for cluster in column.clusters:
            tiles = []
            for unit in column.units[cluster.members[:9]]:
                one = chosen(scene, seen_, layer, int(unit), count=1)
                pixels = (one.crops() if one.local else one.pixels) if len(one) else None
                if pixels is not None:
                    tiles.append(_coloured(smaller(pixels, SIDE)[0]))
            if tiles:
                found[cluster.id] = _squared(tiles)
    return found


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """Grey pixels as coloured ones, so that all pictures are of one kind."""
    plain = pixels if pixels.dtype == np.uint8 else np.clip(pixels, 0, 255).astype(np.uint8)
    return plain if plain.ndim == 3 else np.repeat(plain[..., None], 3, 2)


def _squared(tiles: Sequence[np.ndarray]) -> np.ndarray:
    across = int(np.ceil(np.sqrt(len(tiles))))
    down = -(-len(tiles) // across)
    height, width = np.max([tile.shape[:2] for tile in tiles], 0)
    whole = np.full((down * (height + 1) - 1, across * (width + 1) - 1, 3), GREY, np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // across * (height + 1), k % across * (width + 1)
        whole[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return whole
