"""How the examples of each class lie among others in a layer: rows of numbers, as many at once as memory is given, and who is nearest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..data import nesting
from ..data.kinds import Tokens
from ..model.directions import finite
from ..model.layers import Layer, by_unit
from ..scene import Scene

Floats = NDArray[np.float64]
INPUT = "input"
SIDE = 8
"""Of larger maps and longer sequences, neighbouring places count together, down to so many a side."""
HELD = 512_000_000
"""Bytes of rows that are held at once: layers that take more have a pass each, and of one that takes more by itself a part of the columns."""
STRIP = 32_000_000
"""Bytes of distances, and of rows in double precision, that are made at once."""


@dataclasses.dataclass(frozen=True)
class ExampleDistances:
    """What tells how far some examples are from one another in a layer."""

    count: int
    whole: NDArray[np.bool_]
    """Which are answered with numbers alone."""
    rows: NDArray[Any] | None
    """The numbers, (examples, numbers), of any kind; None where they were too many to be held."""
    apart: Floats | None = None
    """Then the squared distance of each two."""
    mean: bool = False
    """Whether only the mean over the steps is told, as some examples are answered in more steps than others."""

    def strips(self) -> Iterator[tuple[int, Floats]]:
        """Squared distances from some examples on to all, a few examples at a time; an example is infinitely far from itself."""
        high = max(1, STRIP // (8 * max(1, self.count)))
        lengths = None if self.rows is None else sum((part**2).sum(1) for _, part in self._columns())
        for start in range(0, self.count, high):
            stop = min(start + high, self.count)
            if self.apart is not None:
                found = self.apart[start:stop].copy()
            else:
                assert lengths is not None
                found = np.zeros((stop - start, self.count))
                for _, part in self._columns():
                    found -= part[start:stop] @ part.T
                found *= 2
                found += lengths[start:stop, None]
                found += lengths[None]
            found[np.arange(stop - start), np.arange(start, stop)] = np.inf
            yield start, found

    def _columns(self) -> Iterator[tuple[int, Floats]]:
        """A few columns at a time in double precision, by the largest number of all, so that squares stay in range."""
        assert self.rows is not None
        wide = max(1, STRIP // (8 * max(1, self.count)))
        parts = [(k, self.rows[:, k : k + wide]) for k in range(0, self.rows.shape[1], wide)]
        size = max((float(np.abs(finite(part)).max(initial=0.0)) for _, part in parts), default=0.0) or 1.0
        for k, part in parts:
            yield k, finite(part) / size


def lying(rows: NDArray[Any]) -> ExampleDistances:
    """Of rows (examples, numbers) that are held."""
    wide = max(1, STRIP // (8 * max(1, len(rows))))
    whole = np.ones(len(rows), bool)
    for k in range(0, rows.shape[1], wide):
        whole &= np.isfinite(rows[:, k : k + wide]).all(1)
    return ExampleDistances(len(rows), whole, rows)


def laid_out(scene: Scene, layers: list[Layer], most: int = 0) -> Iterator[tuple[str, ExampleDistances]]:
    """What layers say of each live example with its places, layer by layer in their order; behind the first the input, where it is numbers.

    No more rows are held at once than ``HELD`` says: a pass for each lot of layers, and of a layer that takes more by itself one for each
    lot of its columns, whose distances add up. One that is ``most`` numbers wide is held whole all the same.
    """
    inputs = _inputs(scene)
    for lot in lots(scene, layers, most):
        found, uneven = _looked(scene, lot)
        for part in lot:
            name, last = part.layer.name, part.stop == part.wide
            rows = found.pop(name)
            if name in uneven:
                # One lot of columns tells all of the mean.
                if last:
                    yield name, dataclasses.replace(lying(rows), mean=True)
            elif part.whole:
                yield name, lying(rows)
            else:
                part.summed.add(rows)
                if last:
                    yield name, part.summed.told()
            if inputs is not None and last:
                yield INPUT, lying(inputs)
                inputs = None


class _SummedDistances:
    """Squared distances that add up over columns."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.whole = np.ones(count, bool)
        self.products = np.zeros((0, 0))

    def add(self, rows: NDArray[Any]) -> None:
        """Some columns more."""
        self.products = self.products if len(self.products) else np.zeros((self.count, self.count))
        wide = max(1, STRIP // (8 * self.count))
        for k in range(0, rows.shape[1], wide):
            self.whole &= np.isfinite(rows[:, k : k + wide]).all(1)
            part = finite(rows[:, k : k + wide])
            for start in range(0, self.count, wide):
                self.products[start : start + wide] += part[start : start + wide] @ part.T

    def told(self) -> ExampleDistances:
        """All columns are there."""
        lengths = np.diagonal(self.products).copy()
        self.products *= -2
        self.products += lengths[:, None]
        self.products += lengths[None]
        return ExampleDistances(self.count, self.whole, None, self.products)


@dataclasses.dataclass(frozen=True)
class HeldPart:
    """Some columns of what a layer says, of all its ``wide`` ones."""

    layer: Layer
    start: int
    stop: int
    wide: int
    summed: _SummedDistances

    @property
    def whole(self) -> bool:
        """All columns at once."""
        return self.wide == self.stop - self.start


def lots(scene: Scene, layers: list[Layer], most: int = 0) -> list[list[HeldPart]]:
    """Layers and parts of layers that are looked at in one pass each, by how many numbers each says of an example."""
    if not layers:
        return []
    _, x = next(scene.first(2).batches())
    wide = {name: rows.shape[1] for name, rows in _kept(scene, x, {one.name: (one, slice(None)) for one in layers}).items()}
    count = len(scene.live)
    room = max(1, HELD // (4 * count))
    found: list[list[HeldPart]] = [[]]
    left = room
    for one in layers:
        all_, summed = wide[one.name], _SummedDistances(count)
        step = all_ if all_ == most else min(all_, room)
        for start in range(0, all_, max(1, step)):
            stop = min(start + step, all_)
            # A layer stands in a lot once.
            if found[-1] and (stop - start > left or found[-1][-1].layer is one):
                found.append([])
                left = room
            found[-1].append(HeldPart(one, start, stop, all_, summed))
            left -= stop - start
    return found


def _inputs(scene: Scene) -> NDArray[Any] | None:
    """The inputs as rows, where they are numbers: the examples' own memory."""
    x = scene.live.x
    if not isinstance(x, Tensor) or isinstance(scene.kind, Tokens) or nesting.size(x) != len(scene.live):
        return None
    own = torch.view_as_real(x).flatten(2) if x.is_complex() else x
    found: NDArray[Any] = (own.float() if own.dtype in (torch.bfloat16, torch.float16) else own).flatten(1).cpu().numpy()
    return found


def _looked(scene: Scene, lot: list[HeldPart]) -> tuple[dict[str, NDArray[np.float32]], set[str]]:
    """What the parts of one lot say of each live example, in one pass; and of which it is the mean, as examples have not all as many steps."""
    # A layer that is held whole is taken as it comes: two examples may have fewer steps than all.
    asked = {part.layer.name: (part.layer, slice(None) if part.whole else slice(part.start, part.stop)) for part in lot}
    rows: dict[str, NDArray[np.float32]] = {}
    uneven = set[str]()
    for chosen, x in scene.batches():
        for name, part in _kept(scene, x, asked).items():
            if name not in rows:
                rows[name] = np.empty((len(scene.live), part.shape[1]), np.float32)
            if part.shape[1] != rows[name].shape[1]:
                uneven.add(name)
                continue
            rows[name][chosen.start : chosen.stop] = part.numpy()
    if uneven:
        means = scene.responses(sorted(uneven))
        rows.update({name: means[name].mean.float().numpy() for name in uneven})
    return rows, uneven


def _kept(scene: Scene, x: Any, asked: dict[str, tuple[Layer, slice]]) -> dict[str, Tensor]:
    """Columns of what layers say of some inputs, by a pass of its own."""
    def reduced(name: str, tensor: Tensor) -> Tensor:
        layer, columns = asked[name]
        return _pooled(by_unit(layer, tensor))[:, columns].cpu()

    return dict(scene.kept(x, asked, reduce=reduced))


def _pooled(values: Tensor) -> Tensor:
    """A layer's answers (n, units, places…) as rows, of large maps the means of neighbouring places."""
    values = values.float()
    if values.ndim == 4 and max(values.shape[2:]) > SIDE:
        values = F.adaptive_avg_pool2d(values, (min(values.shape[2], SIDE), min(values.shape[3], SIDE)))
    elif values.ndim == 3 and values.shape[2] > SIDE * SIDE:
        values = F.adaptive_avg_pool1d(values, SIDE * SIDE)
    elif values.ndim > 4 and prod(values.shape[2:]) > SIDE * SIDE:
        values = values.flatten(4)
        high, wide, deep = (min(side, SIDE // 2) for side in values.shape[2:])
        values = F.adaptive_avg_pool3d(values, (high, wide, deep))
    return values.flatten(1)


def among(rows: NDArray[Any] | ExampleDistances, classes: NDArray[np.int64], pairs: list[tuple[int, int]], near: int) -> Floats:
    """For each pair of classes the share of the other class among the nearest of both, each class of equal weight.

    Of each example no more count than there are others of its class, as more would have to be of the other. Rows that hold what is no number
    are left out; NaN where fewer than two of a class are left.
    """
    told = rows if isinstance(rows, ExampleDistances) else lying(rows)
    members = {k: np.flatnonzero(told.whole & (classes == k)) for k in {k for pair in pairs for k in pair}}
    asked = [number for number, pair in enumerate(pairs) if min(len(members[k]) for k in pair) > 1]
    both = {number: np.sort(np.concatenate([members[k] for k in pairs[number]])) for number in asked}
    sums = np.zeros((len(pairs), 2))
    for start, apart in told.strips() if asked else ():
        for number in asked:
            every = both[number]
            own = every[(every >= start) & (every < start + len(apart))]
            if len(own):
                sizes = np.array([len(members[k]) for k in pairs[number]])
                second = classes == pairs[number][1]
                sums[number] += _shares(apart[own - start][:, every], second[own], second[every], sizes, near)
    found = np.full(len(pairs), np.nan)
    for number in asked:
        found[number] = np.mean([sums[number, side] / len(members[k]) for side, k in enumerate(pairs[number])])
    return found


def _shares(apart: Floats, own: NDArray[np.bool_], second: NDArray[np.bool_], sizes: NDArray[np.int64], near: int) -> Floats:
    """The shares of the other class among the nearest of some examples of two classes, summed over those of the first and of the second class.

    ``own`` says which of the rows, ``second`` which of the columns are of the second class.
    """
    like, against = sizes[own.astype(int)] - 1, sizes[1 - own.astype(int)]
    counted = np.minimum(near, like)
    beside = np.argsort(apart, 1, kind="stable")[:, : counted.max()]
    other = ((second[beside] != own[:, None]) & (np.arange(beside.shape[1]) < counted[:, None])).sum(1)
    # A class of more examples is met more often by chance: each neighbour counts by one over its class, which lacks the example itself.
    share = (other / against) / (other / against + (counted - other) / like)
    return np.array([share[~own].sum(), share[own].sum()])
