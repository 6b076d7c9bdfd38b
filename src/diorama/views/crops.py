"""What a unit sees of a picture: receptive-field boxes, the crops inside them, and signals sent back to the pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.colour import Limits, symmetric
from ..core.errors import NotApplicable
from ..core.marks import Box, Tiles
from ..data.kinds import Image
from ..data.nesting import Nested, size
from ..derive.scans import SeenUnits
from ..derive.windows import SMALLEST as SMALLEST
from ..derive.windows import centres as centres
from ..derive.windows import field_of as field_of
from ..methods.method import Look
from ..methods.rectifiers import Passing, rectified
from ..model.capture import Capture
from ..model.fields import ReceptiveField
from ..model.layers import Layer, by_unit
from ..model.targets import Target
from ..scene import Scene

Pixels = np.ndarray
Place = tuple[int, ...]
GREY = 128
"""What stands where a receptive field reaches beyond the picture."""


def box_of(field: ReceptiveField | None, place: Place, label: str = "") -> Box | None:
    """The box of pixels that a place sees; None where it sees nothing, or where there are no places."""
    if field is None or (not place and not field.whole):
        return None
    (top, bottom), (left, right) = field.box(place)
    if bottom <= top:
        return None
    return Box(x=left, y=top, width=right - left, height=bottom - top, label=label)


def laid_over(own: Pixels, field: ReceptiveField | None, shape: tuple[int, ...]) -> Pixels:
    """A unit's map as large as the picture: each place about the middle of what it sees; nothing beyond the last one."""
    chosen, inside = [], []
    for axis, (count, side) in enumerate(zip(own.shape, shape, strict=True)):
        if field is None or field.ways[axis] is None or len(field.low[axis]) != count:
            middles = (np.arange(count) + 0.5) * side / count - 0.5
        else:
            middles = centres(field, axis, count)
        away = np.abs(np.arange(side)[:, None] - middles)
        chosen.append(away.argmin(1))
        step = abs(float(middles[-1] - middles[0])) / max(count - 1, 1)
        inside.append(away.min(1) <= step / 2 + 0.5)
    found: Pixels = own[np.ix_(*chosen)] * np.outer(*inside)
    return found


NOWHERE = Box(x=0, y=0, width=0, height=0)


def crop(pixels: Pixels, box: Box | None, shape: tuple[int, ...]) -> Pixels:
    """What lies in the box, on a canvas of the size of the largest field; grey where the field leaves the picture."""
    height, width = shape
    canvas = np.full((height, width, *pixels.shape[2:]), GREY if pixels.dtype == np.uint8 else 0, pixels.dtype)
    if box is None:
        return canvas
    top, left, rows, columns = int(box.y), int(box.x), int(box.height), int(box.width)
    down = height - rows if top == 0 and top + rows < pixels.shape[0] else 0
    over = width - columns if left == 0 and left + columns < pixels.shape[1] else 0
    canvas[down : down + rows, over : over + columns] = pixels[top : top + rows, left : left + columns]
    return canvas


@dataclasses.dataclass(frozen=True)
class ChosenExamples:
    """Some examples of a unit, strongest first: their numbers, values, places and what the unit sees of them."""

    examples: list[int]
    values: list[float]
    places: list[Place]
    pixels: Pixels | None
    boxes: list[Box | None]
    shape: tuple[int, ...]
    """Of the largest field."""

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def local(self) -> bool:
        """The unit sees a part of the picture alone, and it is large enough to be shown."""
        if self.pixels is None or not self.examples:
            return False
        rows, columns = self.pixels.shape[1:3]
        return (self.shape[0] < rows or self.shape[1] < columns) and max(self.shape) >= SMALLEST

    def crops(self, of: Pixels | None = None) -> Pixels:
        """The crops of the pictures, or of other planes of their size."""
        whole = self.pixels if of is None else of
        assert whole is not None
        found = [crop(picture, box, self.shape) for picture, box in zip(whole, self.boxes, strict=True)]
        return np.stack(found)


def chosen(scene: Scene, seen: SeenUnits, layer: Layer, unit: int, largest: bool = True, count: int = 9) -> ChosenExamples:
    """A unit's strongest (or most suppressing) examples, with what it sees of them."""
    found = seen.statistics.top if largest else seen.statistics.bottom
    assert found is not None
    there = [k for k in range(min(found.k, count)) if found.examples[unit, k] >= 0]
    examples = [int(found.examples[unit, k]) for k in there]
    places = [seen.statistics.position(int(found.places[unit, k])) for k in there]
    field = field_of(scene, layer)
    pixels = seen.pictures(examples) if examples else None
    boxes = [box_of(field, place) for place in places]
    values = [float(found.values[unit, k]) for k in there]
    return ChosenExamples(examples, values, places, pixels, boxes, field.largest if field is not None else (1, 1))


def limits_of(pixels: Pixels) -> Limits | None:
    """Grey pixels go through limits, coloured ones are as they are."""
    return Limits(low=0, high=255, scale="grey") if pixels.ndim == 3 else None


def boxed(scene: Scene, seen: SeenUnits, found: ChosenExamples, title: str, side: int = 62, columns: int | None = 9) -> Tiles:
    """The whole pictures, with a box round what the unit sees."""
    assert found.pixels is not None
    boxes = [box or NOWHERE for box in found.boxes] if found.local else []
    return Tiles(
        images=found.pixels, limits=limits_of(found.pixels), labels=seen.names(scene, found.examples),
        notes=tuple(f"{value:.3g}" for value in found.values), keys=seen.keys(found.examples), boxes=tuple(boxes),
        title=title, size=side, columns=columns,
    )


def sent_back(
    scene: Scene, layer: Layer, x: Nested, units: Sequence[int], places: Sequence[Place], passing: Passing | None
) -> tuple[np.ndarray, bool]:
    """The activation of each example's unit at its place, sent back to the pixels: (n, height, width[, 3]).

    ``passing`` says what ReLUs let through on the way back; None is the plain gradient, which is also used (the second
    result is then False) where no ReLU runs. *Raises* NotApplicable for inputs that are no pictures.
    """
    kind = scene.kind
    if not isinstance(kind, Image):
        raise NotApplicable("signals are sent back to pictures, and this model takes none; use the view attribution")
    look = Look(
        scene.model, x=x, kind=kind, reading=scene.reading, classes=scene.classes, table=scene.layers,
        cancel=scene.cancel, edits=scene.edits,
    )
    x = look.floats(x)
    target = Target("the units", (layer.name,), _each_unit(layer, units, places))
    rules = passing is not None
    if passing is not None:
        try:
            values, _ = rectified(look, x, target, passing, passing)
        except NotApplicable:
            rules = False
    if not rules:
        points = look.points(x)
        values = look.shaped(x, look.gradients(look.run(x, target, points, grad=True).value, points))
    assert isinstance(values, Tensor)
    planes = kind.planes(values)
    found = np.moveaxis(planes, 1, 3) if planes.shape[1] == 3 else planes.mean(1)
    return np.ascontiguousarray(found), rules


def _each_unit(layer: Layer, units: Sequence[int], places: Sequence[Place]):  # type: ignore[no-untyped-def]
    """One number an example: its own unit at its own place."""

    def take(output: object, look: Capture) -> Tensor:
        values = by_unit(layer, look[layer.name])
        rows = torch.arange(len(values), device=values.device)
        own = values[rows, torch.as_tensor(list(units), device=values.device)]
        if own.ndim == 1:
            return own
        flat = torch.tensor([int(np.ravel_multi_index(place, own.shape[1:])) for place in places], device=own.device)
        return own.flatten(1)[rows, flat]

    return take


def relief(signals: np.ndarray) -> tuple[np.ndarray, Limits | None]:
    """Signals (n, height, width[, 3]) as pictures, each in its own range: coloured on grey, or blue and orange."""
    flat = np.nan_to_num(signals.reshape(len(signals), -1))
    top = np.abs(flat).max(1, initial=0).reshape(-1, *(1,) * (signals.ndim - 1))
    scaled = np.nan_to_num(signals) / np.where(top > 0, top, 1)
    if signals.ndim == 3:
        return scaled.astype(np.float32), symmetric(scaled, 1.0)
    return np.rint(scaled * 127 + GREY).clip(0, 255).astype(np.uint8), None


def strongest_place(values: Tensor) -> Place:
    """The place of a unit's map at which it responds most."""
    if not values.ndim:
        return ()
    flat = torch.nan_to_num(values.reshape(-1), -torch.inf, -torch.inf, -torch.inf)
    return tuple(int(k) for k in np.unravel_index(int(flat.argmax()), tuple(values.shape)))


def repeated(x: Nested, count: int) -> Nested:
    """One example several times over."""
    from ..data.nesting import each

    assert size(x) == 1
    return each(x, lambda tensor: tensor.expand(count, *tensor.shape[1:]).clone())


def only_pictures(scene: Scene, what: str, instead: str) -> str | None:
    """Why a view of pictures does not fit, for models that take something else."""
    if not scene.kinds:
        return f"{what}, and {scene.network.without}"
    if isinstance(scene.kind, Image):
        return None
    takes = "several inputs" if isinstance(scene.kind, dict) else "none"
    return f"{what}, and this model takes {takes}; use the view {instead}"


def montages(scene: Scene, seen: SeenUnits, layer: Layer, units: Sequence[int], count: int = 9, side: int = 32) -> Pixels:
    """For each unit what it sees of its strongest examples, in one square picture of three by three."""
    return mosaic([chosen(scene, seen, layer, unit, count=count) for unit in units], count, side)


def mosaic(groups: Sequence[ChosenExamples], count: int = 9, side: int = 32) -> Pixels:
    """For each group of examples what is seen of them, in one square picture of so many."""
    across = max(1, round(count**0.5))
    tiles = []
    for found in groups:
        pixels = (found.crops() if found.local else found.pixels) if len(found) else None
        tiles.append(None if pixels is None else smaller(pixels, side))
    first = next((tile for tile in tiles if tile is not None), np.full((1, side, side), GREY, np.uint8))
    rows, columns = first.shape[1:3]
    # One pixel of grey tells the pictures apart.
    shape = (across * (rows + 1) - 1, across * (columns + 1) - 1)
    whole = np.full((len(tiles), *shape, *first.shape[3:]), GREY, np.uint8)
    for k, tile in enumerate(tiles):
        for n in range(0 if tile is None else min(len(tile), across**2)):
            top, left = n // across * (rows + 1), n % across * (columns + 1)
            whole[k, top : top + rows, left : left + columns] = tile[n]  # type: ignore[index]
    return whole


def smaller(pixels: Pixels, side: int) -> Pixels:
    """Pictures (n, height, width[, 3]) averaged down to about ``side`` pixels where they are larger."""
    step = -(-max(pixels.shape[1:3]) // side)
    if step <= 1:
        return pixels
    height, width = pixels.shape[1] // step * step, pixels.shape[2] // step * step
    cut = pixels[:, :height, :width].reshape(
        len(pixels), height // step, step, width // step, step, *pixels.shape[3:]
    )
    found: Pixels = cut.mean((2, 4)).round().astype(pixels.dtype)
    return found
