"""What many units or directions would like to see, formed once for a snapshot and gone on with where it was left."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ...core.colour import Limits
from ...core.selection import Selection
from ...methods.synthesis import objectives
from ...methods.synthesis.engine import Ascent, form
from ...methods.synthesis.objectives import Objective
from ...methods.synthesis.priors import Priors
from ...methods.synthesis.stage import Stage
from ...model.directions import Direction
from ...scene import Scene
from .. import crops
from . import _made

STEPS = 96
PRIORS = Priors(total_variation=0.15, gaussian=0.3)


@dataclasses.dataclass
class Preferred:
    """Inputs that form, one for each unit or direction; those that have not begun are None."""

    stage: Stage
    shown: list[Any]
    values: list[float]
    step: int = 0
    steps: int = STEPS

    @property
    def done(self) -> bool:
        """Nothing more will change."""
        return self.step >= self.steps

    def pictures(self, chosen: Sequence[int]) -> np.ndarray:
        """Some of them as pictures (n, height, width[, 3]); grey where they have not begun."""
        first = next((one for one in self.shown if one is not None), None)
        side = tuple(self.stage.size[1:])
        blank = np.full_like(first, crops.GREY) if first is not None else np.full(side, crops.GREY, np.uint8)
        return np.stack([blank if self.shown[k] is None else np.asarray(self.shown[k]) for k in chosen])

    def limits(self, pictures: np.ndarray) -> Limits | None:
        """The scale of grey pictures."""
        return crops.limits_of(pictures)

    def note(self, k: int) -> str:
        """The value of one of them, as the network answers to it."""
        return f"{self.values[k]:.3g}" if math.isfinite(self.values[k]) else ""


class _Forming:
    """A synthesis that may be left and gone on with."""

    def __init__(self, stage: Stage, count: int, wanted: Callable[[list[int]], Objective]) -> None:
        self.now = Preferred(stage, [None] * count, [math.nan] * count)
        self._parts = self._made(stage, count, wanted)

    def advance(self) -> None:
        """A few steps more."""
        next(self._parts, None)

    def _made(self, stage: Stage, count: int, wanted: Callable[[list[int]], Objective]) -> Iterator[None]:
        size = _made.at_once(stage) if stage.image else 32
        waves = [list(range(k, min(k + size, count))) for k in range(0, count, size)]
        self.now.steps = STEPS * len(waves)
        ascent = stage.suited(Ascent(STEPS, priors=PRIORS), jitter=None, scale=0.1, rotate=8.0, crop=0.1)
        for number, wave in enumerate(waves):
            canvas = stage.canvas(len(wave), stage.look.generator)
            for formed in form(stage.look, canvas, wanted(wave), ascent, stage.look.generator):
                for k, value, told in zip(wave, _made.shown(stage, formed.x), formed.values.tolist(), strict=True):
                    self.now.shown[k], self.now.values[k] = value, told
                self.now.step = STEPS * number + (STEPS if formed.final else formed.step)
                yield


def of_units(scene: Scene, selection: Selection, layer: str, units: Sequence[int]) -> Iterator[Preferred]:
    """What units of a layer ask for, as it forms; those that have formed before come at once."""
    chosen = list(units)

    def wanted(wave: list[int]) -> Objective:
        numbers = [chosen[k] for k in wave]
        return objectives.woken(objectives.units(layer, numbers), layer, numbers, scene.layers)

    return _forming(scene, selection, f"units/{layer}/{chosen}", len(chosen), wanted)


def of_directions(scene: Scene, selection: Selection, directions: Sequence[Direction]) -> Iterator[Preferred]:
    """What directions of one layer ask for."""
    layer, vectors = directions[0].layer, torch.from_numpy(np.stack([one.vector for one in directions]))
    names = [f"{one.name}/{float(one.vector[0]):.6g}/{float(one.vector.sum()):.6g}" for one in directions]

    def wanted(wave: list[int]) -> Objective:
        return objectives.direction(layer, vectors[wave], cosine=1.0)

    return _forming(scene, selection, f"directions/{layer}/{names}", len(directions), wanted)


def begun(scene: Scene, layer: str, units: Sequence[int]) -> bool:
    """Whether the units' pictures are there, or on their way."""
    return scene.has(f"preferred/units/{layer}/{list(units)}")


def _forming(
    scene: Scene, selection: Selection, name: str, count: int, wanted: Callable[[list[int]], Objective]
) -> Iterator[Preferred]:
    # The work outlives the request that began it, so the request's cancelling is asked about between its parts.
    def start() -> _Forming:
        return _Forming(_made.staged(scene.cancelled_by(None), selection, 0), count, wanted)

    forming: _Forming = scene.once(f"preferred/{name}", start)
    while not forming.now.done:
        if scene.cancel is not None:
            scene.cancel()
        before = forming.now.step
        forming.advance()
        if forming.now.step == before:
            break
        yield forming.now
    if forming.now.done:
        yield forming.now
