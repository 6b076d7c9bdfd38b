"""The pictures that directions among a layer's units ask for: parts of examples that go that way, or made ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.marks import Box
from ...core.picture import Progress
from ...core.selection import Selection
from ...derive.windows import MiddlePlace, field_of
from ...methods.synthesis import objectives
from ...methods.synthesis.engine import Ascent, form
from ...methods.synthesis.priors import Priors
from ...model.layers import by_unit
from ...scene import Scene
from ...scene.input import CurrentInput, pictured
from .. import crops
from ..crops import box_of
from ..unit._made_inputs import shown as decoded
from ..unit._made_inputs import staged
from ..units import ShownLayer


@dataclasses.dataclass(frozen=True)
class Pictures:
    """One picture a direction, and how well it goes that way.

    *Shapes* ``pixels`` (directions, height, width[, 3]); ``cosine`` and ``strength`` (directions,): of the picture's own answer
    at its place the cosine with the direction, and its length along it as a multiple of the direction's; ``chance`` the mean cosine
    of any place of any example, or of the noise that pictures were made from.
    """

    pixels: np.ndarray
    cosine: np.ndarray
    strength: np.ndarray
    chance: float
    said: str


def from_examples(scene: Scene, one: ShownLayer, ways: np.ndarray, current: CurrentInput) -> Iterator[Progress | Pictures]:
    """For each direction (directions, units) the part of another example that goes furthest that way, and no other way."""
    asked = torch.tensor(ways, dtype=torch.float32)
    lengths = asked.norm(dim=1).clamp_min(1e-12)
    unit = asked / lengths[:, None]
    best = torch.full((len(unit),), -torch.inf)
    example, place = torch.zeros(len(unit), dtype=torch.long), torch.zeros(len(unit), dtype=torch.long)
    cosine, along = torch.zeros(len(unit)), torch.zeros(len(unit))
    total, count = 0.0, 0
    shape: tuple[int, ...] = ()
    for chosen, x in scene.batches():
        yield Progress(done=chosen.start, total=len(scene.live), note="looking for the parts of examples that drive these units")
        raw = scene.kept(x, [one.source.name], reduce=lambda _, tensor: by_unit(one.source, tensor).cpu())[one.source.name]
        values = one.values(raw).nan_to_num(0, 0, 0)
        shape = tuple(values.shape[2:])
        rows = values.flatten(2).transpose(1, 2).flatten(0, 1)
        far = unit @ rows.T
        angle = far / rows.norm(dim=1).clamp_min(1e-12)
        worth = far * angle.clamp_min(0)
        places = len(rows) // len(values)
        if current.index is not None and current.index in chosen and len(scene.live) > 1:
            own = (current.index - chosen.start) * places
            worth[:, own : own + places] = -torch.inf
        total, count = total + float(angle.sum()), count + angle.numel()
        top, where = worth.max(1)
        better = top > best
        best = torch.where(better, top, best)
        example = torch.where(better, chosen.start + where // places, example)
        place = torch.where(better, where % places, place)
        cosine = torch.where(better, angle.gather(1, where[:, None])[:, 0], cosine)
        along = torch.where(better, far.gather(1, where[:, None])[:, 0], along)
    pixels = pictured(scene.live, example.tolist())
    field = field_of(scene, one.layer)
    boxes = [box_of(field, tuple(int(k) for k in np.unravel_index(int(at), shape))) for at in place]
    yield Pictures(
        _cut(np.asarray(pixels), boxes, field.largest if field is not None else None), cosine.numpy(), (along / lengths).numpy(),
        total / max(count, 1), "the part of another example that drives its units most in these proportions",
    )


def formed(scene: Scene, selection: Selection, one: ShownLayer, ways: np.ndarray, steps: int, seed: int) -> Iterator[Progress | Pictures]:
    """For each direction a picture that forms from noise until the layer, in the middle of its map, goes that way."""
    stage = staged(scene, selection, seed)
    source, middle = one.source, MiddlePlace.of(scene, one.layer)
    place = middle.place if middle is not None else tuple(side // 2 for axis, side in enumerate(source.shape, 1) if axis != source.unit_axis)
    asked = torch.tensor(ways, dtype=torch.float32)
    objective = objectives.direction(source.name, asked, cosine=1.0, place=place)
    canvas = stage.canvas(len(ways), stage.look.generator)
    noise = canvas.shown()
    ascent = stage.suited(Ascent(steps, 1.5, priors=Priors(0.15, 0.0, 0.0, 0.1, 0.0)), jitter=None, scale=0.05, rotate=4.0, crop=0.0)
    last = None
    for last in form(stage.look, canvas, objective, ascent, stage.look.generator):
        yield Progress(done=last.step, total=last.steps, note="pictures form")
    assert last is not None
    boxes = [box_of(middle.field, place) if middle is not None else None] * len(ways)
    pixels = np.asarray(decoded(stage, last.x))
    cosine, strength = _measured(scene, one, last.x, asked, place)
    chance, _ = _measured(scene, one, noise, asked, place)
    yield Pictures(
        _cut(pixels, boxes, middle.largest if middle is not None else None), cosine, strength, float(chance.mean()),
        f"made from noise in {last.steps} steps, until its units answer in these proportions",
    )


def _measured(scene: Scene, one: ShownLayer, x: object, asked: Tensor, place: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The cosine with each direction, and the length along it as a multiple of the direction's own, at a place."""
    raw = scene.kept(x, [one.source.name])[one.source.name]  # type: ignore[arg-type]
    values = objectives.at_place(one.values(by_unit(one.source, raw).cpu()), 2, place).nan_to_num(0, 0, 0)
    far = (values * asked).sum(1) / asked.norm(dim=1).clamp_min(1e-12)
    return (far / values.norm(dim=1).clamp_min(1e-12)).numpy(), (far / asked.norm(dim=1).clamp_min(1e-12)).numpy()


def _cut(pixels: np.ndarray, boxes: list[Box | None], largest: tuple[int, ...] | None) -> np.ndarray:
    """What lies in the boxes, where they are parts of the pictures large enough to be shown; else the pictures."""
    rows, columns = pixels.shape[1:3]
    local = largest is not None and (largest[0] < rows or largest[1] < columns) and max(largest) >= crops.SMALLEST
    if not local or any(box is None for box in boxes):
        return pixels
    assert largest is not None
    return np.stack([crops.crop(picture, box, largest) for picture, box in zip(pixels, boxes, strict=True)])
