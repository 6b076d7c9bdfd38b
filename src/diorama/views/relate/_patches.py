"""What drives the units of clusters most: one picture a cluster, or a few lines of words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...core.errors import NotApplicable
from ...derive.scans import SeenUnits, seen
from ...scene import Scene
from ...scene.layer_text import misplaced
from .. import texts
from ..crops import GREY, ChosenExamples, chosen, smaller
from ._columns import MapColumn

SIDE = 26
"""Pixels of one patch at most."""
LINES, WIDE = 5, 12
"""So many lines of words, and so many characters before the one that is read."""


def patches(scene: Scene, columns: Sequence[MapColumn]) -> dict[str, np.ndarray]:
    """For each cluster up to nine of its units, each by the part of an example that drives it most, in a square."""
    found: dict[str, np.ndarray] = {}
    for cluster, _, strongest in _driven(scene, columns, 9):
        shown = [one.crops() if one.local else one.pixels for one in strongest]
        tiles = [_coloured(smaller(pixels, SIDE)[0]) for pixels in shown if pixels is not None]
        if tiles:
            found[cluster] = _squared(tiles)
    return found


def _driven(scene: Scene, columns: Sequence[MapColumn], most: int) -> Iterator[tuple[str, SeenUnits, list[ChosenExamples]]]:
    """Each cluster with what its layer was seen to answer, and for some of its units the example that drives it most."""
    for column in columns:
        layer = scene.layers[column.layer]
        try:
            seen_ = seen(scene, layer)
        except NotApplicable:
            continue
        for cluster in column.clusters:
            strongest = [chosen(scene, seen_, layer, int(unit), count=1) for unit in column.units[cluster.members[:most]]]
            yield cluster.id, seen_, [one for one in strongest if len(one)]


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


def words(scene: Scene, columns: Sequence[MapColumn]) -> dict[str, tuple[str, ...]]:
    """For each cluster up to five of its units, each by the text before and at the place where it answers most."""
    found: dict[str, tuple[str, ...]] = {}
    layers = {cluster.id: column.layer for column in columns for cluster in column.clusters}
    for cluster, seen_, strongest in _driven(scene, columns, LINES):
        lines = []
        for one in strongest:
            if len(one.places[0]) == 1 and misplaced(scene, layers[cluster]):
                continue
            tokens = texts.tokens(seen_.examples.shown(seen_.rows(one.examples))[0])
            place = one.places[0][0] if len(one.places[0]) == 1 else len(tokens) - 1
            lines.append(_context(tokens, min(place, len(tokens) - 1)))
        if lines:
            found[cluster] = tuple(dict.fromkeys(lines))
    return found


def looked_at_words(columns: Sequence[MapColumn]) -> dict[str, tuple[str, ...]]:
    """For each cluster of heads the tokens at which they look most beyond chance."""
    found = {}
    for column in columns:
        for cluster in column.clusters:
            mean = np.nan_to_num(column.scores[cluster.members].mean(0))
            found[cluster.id] = tuple(texts.visible(column.names[k]) for k in np.argsort(-mean, kind="stable")[:LINES] if mean[k] > 0)
    return found


def _context(tokens: Sequence[str], place: int) -> str:
    """A token with what stands before it: characters as a stretch, words one before."""
    before = WIDE if texts.single(tokens) else 1
    part = tokens[max(0, place - before) : place + 1]
    return ("" if texts.single(tokens) else " ").join(texts.visible(token) for token in part)
