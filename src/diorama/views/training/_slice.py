"""The loss on a plane through the weights of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import NotApplicable
from ...model.averages import normalized, reestimate
from ...scene import Scene
from ...scene.weight_planes import WeightPlane, put, spread
from ._mean_loss import mean_loss, with_losses

Floats = NDArray[np.float64]
MANY, FEW = 256, 32
"""Of so many live examples and more, a few are asked at all places first: the whole plane is seen in a part of the time."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """The mean loss and the share of right answers (rows, columns) on a grid over the plane; ``rough`` where a few examples tell them so far."""

    xs: Floats
    ys: Floats
    losses: Floats
    right: Floats
    rough: NDArray[np.bool_]

    @property
    def centre(self) -> tuple[int, int]:
        """The row and column of the network itself, or of the place next to it."""
        return int(np.abs(self.ys).argmin()), int(np.abs(self.xs).argmin())


class Walker:
    """A copy of a network that is put at places of a plane, and asked there."""

    def __init__(self, scene: Scene, plane: WeightPlane, anew: bool) -> None:
        self.origin = scene
        self.plane, self.check, self.counted = plane, scene.cancel, with_losses(scene)
        self.begun = {name: value.detach().clone() for name, value in scene.model.state_dict().items() if isinstance(value, Tensor)}
        self.scene = scene.with_weights(self.begun)
        self.norms = bool(normalized(self.scene.model))
        self.anew = anew and self.norms
        self.buffers = dict(self.scene.model.named_buffers())

    def put(self, x: float, y: float) -> Scene:
        """The scene at a place; statistics of batch norm are those at hand, or estimated anew away from the centre."""
        put(self.scene.model, self.begun, self.plane, (x, y))
        if self.anew:
            for name, buffer in self.buffers.items():
                if name in self.begun:
                    buffer.copy_(self.begun[name])
        if self.anew and (x or y):
            reestimate(self.scene.model, (part for _, part in self.scene.batches()), self.check)
        return self.scene

    def asked(self, x: float, y: float) -> tuple[float, float]:
        """The mean loss and the share of right answers at a place; NaN for what is not known."""
        there = self.put(x, y)
        answers = there.answers(sure=False)
        if answers.losses is None:
            raise NotApplicable("it shows the loss, and none is known of these answers; pass y and, where needed, criterion=")
        return mean_loss(there, self.counted), answers.accuracy


class GridPlaces:
    """What is known of the places of a grid so far: by a few examples, then by all. Who comes back goes on from here."""

    def __init__(self, extent: tuple[float, float, float, float], resolution: int) -> None:
        x0, x1, y0, y1 = extent
        self.xs, self.ys = np.linspace(x0, x1, resolution), np.linspace(y0, y1, resolution)
        # The centre is there as it is, without rounding.
        self.xs[np.abs(self.xs) < 1e-9 * (x1 - x0)] = 0.0
        self.ys[np.abs(self.ys) < 1e-9 * (y1 - y0)] = 0.0
        self.losses, self.right = np.full((2, resolution, resolution), np.nan)
        self.guessed, self.known = np.zeros((2, resolution, resolution), bool)

    @property
    def whole(self) -> bool:
        """Whether all is known by all examples."""
        return bool(self.known.all())

    @property
    def covered(self) -> bool:
        """Whether all places are known, some by a few examples only."""
        return bool((self.known | self.guessed).all())

    def slice(self, stride: int = 1) -> Slice:
        """Each so many-th row and column."""
        every = (slice(None, None, stride),) * 2
        return Slice(self.xs[::stride], self.ys[::stride], self.losses[every].copy(), self.right[every].copy(), ~self.known[every])

    def ask(self, walker: Walker, row: int, column: int, seen: NDArray[np.bool_]) -> None:
        """Ask at a place, and note there that it is seen."""
        self.losses[row, column], self.right[row, column] = walker.asked(float(self.xs[column]), float(self.ys[row]))
        seen[row, column] = True


def walked(walker: Walker, places: GridPlaces) -> Iterator[tuple[Slice | None, float, float]]:
    """How many examples were asked of how many, before each place, and the plane whenever there is more to see of it: a grid of places is whole,
    coarse to fine; each place, once all of them are known by a few examples.

    *Cost* resolution² × a pass an example, twice that where statistics are estimated anew; an eighth more at most where a few come first.
    """
    count, number = len(walker.scene.live), places.known.size
    total = float(number * (count + (FEW if count >= MANY else 0)))
    rounds = [(walker, places.known)]
    if count >= MANY and not places.covered:
        rounds.insert(0, (Walker(spread(walker.origin, FEW), walker.plane, walker.anew), places.guessed))
    for one, seen in rounds:
        covered = places.covered
        for stride, row, column in _order(len(seen)):
            done = float(places.guessed.sum() * FEW + places.known.sum() * count)
            if row < 0:
                if not covered:
                    yield places.slice(stride), done, total
            elif not seen[row, column]:
                # A place of a large network takes a while: one is told where it is before each.
                yield None, done, total
                places.ask(one, row, column, seen)
                if covered:
                    yield places.slice(), done, total


def _order(resolution: int) -> Iterator[tuple[int, int, int]]:
    """The distance of a grid's places, and a row and a column of it, each place once; (distance, −1, −1) when it is whole.

    The coarsest has three places a side or a few more; each finer one, down to that of the plane, holds the coarser.
    """
    stride = 1
    while (resolution - 1) % (2 * stride) == 0 and (resolution - 1) // (2 * stride) >= 2:
        stride *= 2
    seen = np.zeros((resolution, resolution), bool)
    while stride:
        for row in range(0, resolution, stride):
            for column in range(0, resolution, stride):
                if not seen[row, column]:
                    seen[row, column] = True
                    yield stride, row, column
        yield stride, -1, -1
        stride //= 2


def outline(good: NDArray[np.bool_], extent: Sequence[float]) -> Floats:
    """The border of a region of cells, as pieces of lines (pieces, 4): x, y to x, y."""
    rows, columns = good.shape
    x = np.linspace(extent[0], extent[1], columns + 1)
    y = np.linspace(extent[2], extent[3], rows + 1)
    found = [
        (x[column + 1], y[row], x[column + 1], y[row + 1]) for row, column in zip(*np.nonzero(good[:, 1:] != good[:, :-1]), strict=True)
    ]
    found += [
        (x[column], y[row + 1], x[column + 1], y[row + 1]) for row, column in zip(*np.nonzero(good[1:] != good[:-1]), strict=True)
    ]
    return np.array(found, np.float64).reshape(-1, 4)
