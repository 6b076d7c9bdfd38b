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
from ...scene.weight_planes import WeightPlane, put
from ._mean_loss import mean_loss, with_losses

Floats = NDArray[np.float64]
@dataclasses.dataclass(frozen=True)
class Slice:
    """The mean loss and the share of right answers (rows, columns) on a grid over the plane; NaN where nobody was yet."""

    xs: Floats
    ys: Floats
    losses: Floats
    right: Floats


class Walker:
    """A copy of a network that is put at places of a plane, and asked there."""

    def __init__(self, scene: Scene, plane: WeightPlane, anew: bool) -> None:
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


def walked(walker: Walker, resolution: int) -> Iterator[tuple[Slice | None, int, int]]:
    """How many places of how many are known, place by place, and the plane whenever a grid is whole, coarse to fine; each finer one holds
    the coarser.

    *Cost* resolution² × a pass an example, twice that where statistics are estimated anew.
    """
    x0, x1, y0, y1 = walker.plane.extent
    xs, ys = np.linspace(x0, x1, resolution), np.linspace(y0, y1, resolution)
    # The centre is there as it is, without rounding.
    xs[np.abs(xs) < 1e-9 * (x1 - x0)] = 0.0
    ys[np.abs(ys) < 1e-9 * (y1 - y0)] = 0.0
    losses, right = np.full((2, resolution, resolution), np.nan)
    known = np.zeros((resolution, resolution), bool)
    # The coarsest grid whose distance is halved to that of the finest, with three places a side or a few more.
    stride = 1
    while (resolution - 1) % (2 * stride) == 0 and (resolution - 1) // (2 * stride) >= 2:
        stride *= 2
    done = 0
    while True:
        for row in range(0, resolution, stride):
            for column in range(0, resolution, stride):
                if not known[row, column]:
                    # A place of a large network takes a while: one is told where it is before each.
                    yield None, done, resolution**2
                    losses[row, column], right[row, column] = walker.asked(float(xs[column]), float(ys[row]))
                    known[row, column], done = True, done + 1
        yield Slice(xs[::stride], ys[::stride], losses[::stride, ::stride].copy(), right[::stride, ::stride].copy()), done, resolution**2
        if stride == 1:
            return
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
