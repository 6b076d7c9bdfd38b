"""What a unit sees of the picture from the place in the middle of its map."""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import Tensor

from ..data.kinds import Image
from ..model.fields import ReceptiveField, fields
from ..model.layers import Layer
from ..scene import Scene

SMALLEST = 3
"""A window of fewer pixels a side shows nothing."""


def field_of(scene: Scene, layer: Layer) -> ReceptiveField | None:
    """What each place of a layer sees of the picture; None for inputs that are no pictures with rows and columns."""
    kind = scene.kind
    axes = {"NCHW": (2, 3), "NHWC": (1, 2), "NHW": (1, 2)}.get(kind.layout) if isinstance(kind, Image) else None
    if axes is None:
        return None
    found: dict[str, ReceptiveField] = scene.keep(
        "fields", lambda: fields(scene.model, scene.examples.batch([0], scene.device), scene.layers, axes)
    )
    return found.get(layer.name)


def centres(field: ReceptiveField, axis: int, places: int) -> np.ndarray:
    """The pixel in the middle of what each place sees along an axis, as if the picture went on beyond its border."""
    low, high, size = field.low[axis], field.high[axis], field.sizes[axis]
    whole = np.flatnonzero((low > 0) & (high < size - 1))
    if len(whole) < 2:
        found: np.ndarray = (np.arange(places) + 0.5) * size / places - 0.5
        return found
    middle = (low + high) / 2
    step = (middle[whole[-1]] - middle[whole[0]]) / (whole[-1] - whole[0])
    return np.asarray(middle[whole[0]] + step * (np.arange(places) - whole[0]))


@dataclasses.dataclass(frozen=True)
class MiddlePlace:
    """The place in the middle of a layer's maps, and what it sees of the picture."""

    place: tuple[int, ...]
    field: ReceptiveField

    @classmethod
    def of(cls, scene: Scene, layer: Layer) -> MiddlePlace | None:
        """The middle place's window; None where each place sees the whole picture, or too little to be shown."""
        field = field_of(scene, layer)
        if field is None or field.whole or not layer.spatial or any(way is None for way in field.ways):
            return None
        place = tuple(side // 2 for axis, side in enumerate(layer.shape, 1) if axis != layer.unit_axis)
        if len(place) != 2 or max(field.largest) < SMALLEST or field.box(place) == ((0, 0), (0, 0)):
            return None
        return cls(place, field)

    @property
    def largest(self) -> tuple[int, ...]:
        """The size of the largest window."""
        return self.field.largest

    def pasted(self, onto: Tensor, planes: Tensor, place: tuple[int, ...], shape: tuple[int, ...]) -> None:
        """Lay what a place of maps of the shape sees of a picture (channels, height, width) where this window is."""
        spans = []
        for axis, (box, side) in enumerate(zip(self.field.box(place), planes.shape[1:], strict=True)):
            way = self.field.ways[axis]
            assert way is not None
            at = centres(self.field, axis, shape[way])
            by = round(float(at[self.place[way]] - at[place[way]]))
            low, high = max(box[0], -by), min(box[1], side - by)
            if high <= low:
                return
            spans.append((slice(low + by, high + by), slice(low, high)))
        (down, top), (over, left) = spans
        onto[:, down, over] = planes[:, top, left]
