"""What units or directions would like to see: formed once for a snapshot, kept, and gone on with where it was left."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ...core.colour import Limits, symmetric
from ...core.marks import Bars, Box, Node
from ...core.rounding import deviations
from ...core.selection import Selection
from ...data.kinds import Table
from ...methods.synthesis import objectives
from ...methods.synthesis.engine import Ascent, form
from ...methods.synthesis.objectives import Objective
from ...methods.synthesis.priors import Priors
from ...methods.synthesis.stage import Stage
from ...model.directions import Direction
from ...model.layers import Layer
from ...scene import Scene
from .. import crops
from . import _made

STEPS = 96
PRIORS = Priors(total_variation=0.15, gaussian=0.3)
ROWS_AT_ONCE = 32
STILL = 32
"""Windows of fewer pixels a side are not moved while they form."""
COLUMNS = 12
"""So many columns of a row are shown."""

Wanted = Callable[[list[Any]], Objective]


@dataclasses.dataclass(frozen=True)
class Made:
    """One input that was asked for: what is shown of it, and the objective's value."""

    shown: Any
    value: float


@dataclasses.dataclass(frozen=True)
class Preferred:
    """The inputs that units or directions ask for, as far as they have formed; those that have not begun are None."""

    stage: Stage
    inputs: tuple[Made | None, ...]
    step: int
    steps: int

    @property
    def done(self) -> bool:
        """Nothing more will change."""
        return self.step >= self.steps

    def pictures(self) -> np.ndarray:
        """All of them as pictures (n, height, width[, 3]); grey where they have not begun."""
        first = next((one.shown for one in self.inputs if one is not None), None)
        shape: tuple[int, ...] = tuple(self.stage.size[1:]) if first is None else np.shape(first)
        blank = np.full(shape, crops.GREY, np.uint8)
        return np.stack([blank if one is None else np.asarray(one.shown) for one in self.inputs])

    def limits(self, pictures: np.ndarray) -> Limits | None:
        """The scale of grey pictures."""
        return crops.limits_of(pictures)

    def note(self, k: int) -> str:
        """What the network answers to one of them."""
        one = self.inputs[k]
        return f"{one.value:.3g}" if one is not None and math.isfinite(one.value) else ""


@dataclasses.dataclass(frozen=True)
class Window:
    """The place in the middle of a layer's maps, and what it sees of the picture."""

    place: tuple[int, ...]
    box: Box
    largest: tuple[int, ...]

    @classmethod
    def of(cls, scene: Scene, layer: Layer) -> Window | None:
        """The middle place's window; None where each place sees the whole picture, or too little to be shown."""
        field = crops.field_of(scene, layer)
        if field is None or field.whole or not layer.spatial or any(way is None for way in field.ways):
            return None
        place = tuple(side // 2 for axis, side in enumerate(layer.shape, 1) if axis != layer.unit_axis)
        box = crops.box_of(field, place) if len(place) == 2 else None
        return cls(place, box, field.largest) if box is not None and max(field.largest) >= crops.SMALLEST else None

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """What it sees of a picture."""
        return crops.crop(pixels, self.box, self.largest)


class _Forming:
    """A synthesis that may be left and gone on with."""

    def __init__(self, stage: Stage, names: Sequence[Hashable], wanted: Wanted, window: Window | None) -> None:
        self.stage, self.names, self.window = stage, list(names), window
        self.now: dict[Hashable, Made] = {}
        self.done: set[Hashable] = set()
        size = stage.together if stage.image else ROWS_AT_ONCE
        self._waves = [self.names[k : k + size] for k in range(0, len(self.names), size)]
        self.step, self.steps = 0, STEPS * len(self._waves)
        self._parts = self._made(wanted)

    def advance(self) -> bool:
        """A few steps more; False when there are none."""
        return next(self._parts, None) is not None

    def _made(self, wanted: Wanted) -> Iterator[bool]:
        stage = self.stage
        # What a small window holds would be moved out of it.
        still = self.window is not None and max(self.window.largest) < STILL
        moves = (0, 0.0, 0.0, 0.0) if still else (None, 0.1, 8.0, 0.1)
        ascent = Ascent(STEPS, priors=PRIORS)
        ascent = stage.suited(ascent, jitter=moves[0], scale=moves[1], rotate=moves[2], crop=moves[3])
        for number, wave in enumerate(self._waves):
            canvas = stage.canvas(len(wave), stage.look.generator)
            for formed in form(stage.look, canvas, wanted(wave), ascent, stage.look.generator):
                shown = _made.shown(stage, formed.x)
                shown = shown if self.window is None else [self.window.cut(np.asarray(one)) for one in shown]
                self.now |= {name: Made(shown[k], float(formed.values[k])) for k, name in enumerate(wave)}
                self.done |= set(wave) if formed.final else set()
                self.step = STEPS * number + (STEPS if formed.final else formed.step)
                yield True


class _Kept:
    """What has formed for one layer at one snapshot, and what is forming."""

    def __init__(self) -> None:
        self.made: dict[Hashable, Made] = {}
        self.forming: _Forming | None = None
        self.stage: Stage | None = None


def mark(stage: Stage, value: Any, title: str, caption: str = "", *, size: int = 96) -> Node:
    """One input as a mark; of a table's row the columns that differ most from the examples' mean."""
    if not isinstance(stage.kind, Table):
        return _made.mark(stage, value, title, caption, size=size)
    seen = np.asarray(stage.kind.decode(stage.examples), np.float64).reshape(len(stage.examples), -1)
    row = np.asarray(value, np.float64).reshape(-1)
    spread = deviations(seen)
    spread[spread == 0] = 1
    away = np.nan_to_num((row - seen.mean(0)) / spread)
    order = np.argsort(-np.abs(away), kind="stable")[:COLUMNS]
    order = np.sort(order) if len(row) <= COLUMNS else order
    names = tuple(stage.kind.columns) if len(stage.kind.columns) == len(row) else tuple(f"x{k + 1}" for k in range(len(row)))
    return Bars(
        values=away[order], labels=tuple(names[int(k)] for k in order), notes=tuple(f"{row[k]:.3g}" for k in order),
        limits=symmetric(away[order]), title=title, unit="standard deviations from the mean",
        caption=" ".join(filter(None, (caption, f"the {COLUMNS} that differ most" * (len(row) > COLUMNS)))),
    )  # fmt: skip


def of_units(scene: Scene, selection: Selection, layer: str, units: Sequence[int]) -> Iterator[Preferred]:
    """What units of a layer ask for, as it forms; those that have formed before come at once.

    A unit that sees a part of the picture is asked at the place in the middle, and what it sees there is shown.
    """
    window = Window.of(scene, scene.layers[layer])
    place = window.place if window is not None else None

    def wanted(numbers: list[int]) -> Objective:
        return objectives.woken(objectives.units(layer, numbers, place), layer, numbers, scene.layers)

    return _forming(scene, selection, f"units/{layer}", units, wanted, window)


def so_far(scene: Scene, layer: str, unit: int) -> Preferred | None:
    """What a unit asks for as far as it has formed, without a step more; None where nothing has."""
    name = f"preferred/units/{layer}"
    if not scene.memory.has(name):
        return None
    kept: _Kept = scene.once(name, _Kept)
    one = kept.made.get(unit) or (kept.forming.now.get(unit) if kept.forming is not None else None)
    if kept.stage is None or one is None:
        return None
    return Preferred(kept.stage, (one,), 1 if unit in kept.made else 0, 1)


def of_directions(scene: Scene, selection: Selection, directions: Sequence[Direction]) -> Iterator[Preferred]:
    """What directions of one layer ask for."""
    layer = directions[0].layer
    known = {one.vector.tobytes(): one for one in directions}

    def wanted(names: list[bytes]) -> Objective:
        vectors = np.stack([known[name].vector for name in names])
        return objectives.direction(layer, torch.from_numpy(vectors), cosine=1.0)

    return _forming(scene, selection, f"directions/{layer}", list(known), wanted)


def _forming(
    scene: Scene, selection: Selection, name: str, names: Sequence[Hashable], wanted: Wanted,
    window: Window | None = None,
) -> Iterator[Preferred]:  # fmt: skip
    kept: _Kept = scene.once(f"preferred/{name}", _Kept)
    # The work outlives the request that began it, so the request's cancelling is asked about between its parts.
    kept.stage = kept.stage or _made.staged(scene.cancelled_by(None), selection, 0)
    while missing := [one for one in names if one not in kept.made]:
        if scene.cancel is not None:
            scene.cancel()
        forming = kept.forming
        if forming is None or not set(missing) <= set(forming.names):
            kept.stage.look.generator.manual_seed(0)
            forming = kept.forming = _Forming(kept.stage, missing, wanted, window)
        try:
            went_on = forming.advance()
        except BaseException:
            kept.forming = None
            raise
        kept.made |= {one: forming.now[one] for one in forming.done}
        if not went_on:
            kept.forming = None
            break
        if set(names) <= kept.made.keys():
            break
        found = tuple(kept.made.get(one) or forming.now.get(one) for one in names)
        yield Preferred(kept.stage, found, min(forming.step, forming.steps - 1), forming.steps)
    yield Preferred(kept.stage, tuple(kept.made.get(one) for one in names), 1, 1)
