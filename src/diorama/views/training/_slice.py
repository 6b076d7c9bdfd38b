"""Planes through the weights of a network, and the loss on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import NotApplicable
from ...model.averages import normalized, reestimate
from ...scene import Scene
from ._settling import sampled
from ._straight import mean_loss

Floats = NDArray[np.float64]
Weights = dict[str, Tensor]
NUMBERS = 2**26
"""So many numbers of snapshots are held at once."""


@dataclasses.dataclass(frozen=True)
class WeightPlane:
    """Two directions from the weights at hand, how far they are followed, and where the training went.

    ``path`` (snapshots, 2) holds places on the plane; ``seen`` is the share of the path's squared distances that lies in it.
    """

    first: Weights
    second: Weights
    titles: tuple[str, str]
    extent: tuple[float, float, float, float]
    words: str
    path: Floats
    steps: tuple[int, ...] = ()
    seen: float = float("nan")


def parameters(scene: Scene) -> Weights:
    """The weights that may be moved: all real parameters, each once. *Raises* NotApplicable where there are none."""
    found = {name: value.detach().clone() for name, value in scene.model.named_parameters() if value.is_floating_point()}
    if not any(value.ndim > 1 and value.numel() for value in found.values()):
        raise NotApplicable("it moves weights, and this network has no layer with real ones")
    return found


def drawn(weights: Mapping[str, Tensor], seed: int, count: int = 2) -> list[Weights]:
    """Random directions in which each kernel, the weights from one unit to another, is as long as the network's own.

    *Meaning* each filter is as long as the network's own then (Li et al. 2018, section 4), and what rescales a filter and takes
    it back in the weights that read it rescales the direction alike, so that the slice stays the same. Biases and the
    scales of norms are not moved.
    """
    found: list[Weights] = []
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        one: Weights = {}
        for name, value in weights.items():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if value.ndim < 2:
                one[name] = torch.zeros_like(value)
                continue
            axes = tuple(range(2, value.ndim))
            own = value.detach().double().cpu().nan_to_num(0.0, 0.0, 0.0)
            if axes:
                scale = own.square().sum(axes, keepdim=True).sqrt() / noise.square().sum(axes, keepdim=True).sqrt().clamp_min(1e-300)
            else:
                scale = own.abs() / noise.abs().clamp_min(1e-300)
            one[name] = (noise * scale).to(value)
        found.append(one)
    return found


def random(scene: Scene, seed: int, reach: float) -> WeightPlane:
    """Two random directions; the path of the training mostly stands nearly still in them, as there are so many others."""
    weights = parameters(scene)
    first, second = drawn(weights, seed)
    path, steps, seen = _path(scene, weights, first, second)
    words = f"Both directions are drawn at random (seed {seed}), each kernel as long as the network's own: 1 is as far as the weights are long."
    return WeightPlane(first, second, ("first random direction", "second random direction"), (-reach, reach, -reach, reach), words, path, steps, seen)


def trajectory(scene: Scene) -> WeightPlane:
    """The two directions in which the snapshots of the training lie furthest apart.

    *Source* Li et al. 2018, section 7.2: principal components of the differences to the last snapshot.
    """
    if scene.run is None or len(scene.steps) < 3:
        raise NotApplicable("the directions of a training want three snapshots of one; choose random directions")
    weights = parameters(scene)
    states, steps = _states(scene, weights)
    if len(steps) < 3:
        raise NotApplicable("fewer than three snapshots have this network's shapes; choose random directions")
    rows = torch.stack([_flat(state, weights) for state in states])
    rows = rows - rows[-1:].clone()
    values, vectors = torch.linalg.eigh((rows @ rows.T).double())
    if not bool(values[-2] > 1e-10 * values[-1]) or not bool(values[-1] > 0):
        raise NotApplicable("the snapshots lie on one line or at one place, which spans no plane; choose random directions")
    axes = []
    for k in (-1, -2):
        axis = (vectors[:, k].to(rows) @ rows) / values[k].sqrt().to(rows)
        # An axis has no sign of its own: the first snapshot lies on its positive side.
        axes.append(-axis if float(rows[0] @ axis) < 0 else axis)
    first, second = (_shaped(axis, weights) for axis in axes)
    path, steps, seen = _path(scene, weights, first, second)
    if not len(path):
        raise NotApplicable("some weights are not numbers here, so nothing lies on the plane; choose a step before they broke")
    # As wide as the path is from any of its steps, so that the scale stands still while time goes on.
    reach = np.maximum((path.max(0) - path.min(0)) * 1.15, 1e-9)
    reach = np.maximum(reach, 0.3 * reach.max())
    share = [float(values[k] / values.sum()) for k in (-1, -2)]
    titles = (f"first direction of the training ({100 * share[0]:.0f} %)", f"second ({100 * share[1]:.0f} %)")
    words = "The directions are those in which the snapshots lie furthest apart; lengths are distances between weights."
    return WeightPlane(first, second, titles, (-reach[0], reach[0], -reach[1], reach[1]), words, path, steps, seen)


def towards(scene: Scene, other: Mapping[str, Tensor], name: str, seed: int) -> WeightPlane:
    """From here (0) straight to other weights (1), and a random direction across."""
    weights = parameters(scene)
    for key, value in weights.items():
        if key not in other or other[key].shape != value.shape:
            raise NotApplicable(f"{name} has other weights than this network ({key} differs), so there is no straight way")
    first = {key: other[key].to(value) - value for key, value in weights.items()}
    if not any(bool(value.any()) for value in first.values()):
        raise NotApplicable(f"{name} has the very same weights; choose another step or run")
    second = drawn(weights, seed, 1)[0]
    path, steps, seen = _path(scene, weights, first, second)
    words = f"Across, 0 is this network and 1 is {name}; upwards is a random direction (seed {seed})."
    return WeightPlane(first, second, (f"the way to {name}", "a random direction"), (-0.5, 1.5, -1.0, 1.0), words, path, steps, seen)


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
        self.plane, self.check = plane, scene.cancel
        self.begun = {name: value.detach().clone() for name, value in scene.model.state_dict().items() if isinstance(value, Tensor)}
        self.scene = scene.with_weights(self.begun)
        self.norms = bool(normalized(self.scene.model))
        self.anew = anew and self.norms
        self.weights = dict(self.scene.model.named_parameters())
        self.buffers = dict(self.scene.model.named_buffers())

    def put(self, x: float, y: float) -> Scene:
        """The scene at a place; statistics of batch norm are those at hand, or estimated anew away from the centre."""
        with torch.no_grad():
            for name, own in self.plane.first.items():
                self.weights[name].copy_(self.begun[name] + x * own + y * self.plane.second[name])
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
        answers = there.answers()
        if answers.losses is None:
            raise NotApplicable("it shows the loss, and none is known of these answers; pass y and, where needed, criterion=")
        told = answers.right
        if told is None or answers.known is None:
            return mean_loss(there), float("nan")
        told = told.reshape(len(told), -1).double().mean(1)[answers.known.reshape(len(told), -1).any(1)]
        return mean_loss(there), float(told.mean()) if len(told) else float("nan")


def walked(walker: Walker, resolution: int) -> Iterator[tuple[Slice | None, int, int]]:
    """How many places of how many are known, and the plane whenever a grid is whole, coarse to fine; each finer one holds the coarser.

    *Cost* resolution² × a pass an example, twice that where statistics are estimated anew.
    """
    x0, x1, y0, y1 = walker.plane.extent
    xs, ys = np.linspace(x0, x1, resolution), np.linspace(y0, y1, resolution)
    # The centre is there as it is, without rounding.
    xs[np.abs(xs) < 1e-9 * (x1 - x0)] = 0.0
    ys[np.abs(ys) < 1e-9 * (y1 - y0)] = 0.0
    losses, right = np.full((2, resolution, resolution), np.nan)
    known = np.zeros((resolution, resolution), bool)
    # The coarsest grid whose distance is halved to that of the finest, with five places a side or a few more.
    stride = 1
    while (resolution - 1) % (2 * stride) == 0 and (resolution - 1) // (2 * stride) >= 4:
        stride *= 2
    done = 0
    while True:
        rows = range(0, resolution, stride)
        for row in rows:
            for column in range(0, resolution, stride):
                if not known[row, column]:
                    losses[row, column], right[row, column] = walker.asked(float(xs[column]), float(ys[row]))
                    known[row, column], done = True, done + 1
            if row != rows[-1]:
                yield None, done, resolution**2
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


def _states(scene: Scene, weights: Weights) -> tuple[list[Weights], tuple[int, ...]]:
    """The weights at the run's snapshots that have these shapes, as many as memory allows."""
    run = scene.run
    if run is None:
        return [], ()
    size = sum(value.numel() for value in weights.values())
    states, steps = [], []
    for step in sampled(scene.steps, max(3, min(24, NUMBERS // max(1, size)))):
        if scene.cancel is not None:
            scene.cancel()
        state = run.state(step)
        same = all(name in state and state[name].shape == value.shape for name, value in weights.items())
        if same and all(bool(state[name].isfinite().all()) for name in weights):
            states.append({name: state[name] for name in weights})
            steps.append(step)
    return states, tuple(steps)


def _flat(state: Mapping[str, Tensor], like: Weights) -> Tensor:
    return torch.cat([state[name].detach().float().cpu().reshape(-1) for name in like])


def _shaped(row: Tensor, like: Weights) -> Weights:
    parts = torch.split(row, [value.numel() for value in like.values()])
    return {name: part.reshape(value.shape).to(value) for (name, value), part in zip(like.items(), parts, strict=True)}


def _path(scene: Scene, weights: Weights, first: Weights, second: Weights) -> tuple[Floats, tuple[int, ...], float]:
    """Where the snapshots lie on the plane (their nearest places), and the share of their squared distances within it."""
    states, steps = _states(scene, weights)
    if not states:
        return np.zeros((0, 2)), (), float("nan")
    here = _flat(weights, weights).double()
    if not bool(here.isfinite().all()):
        return np.zeros((0, 2)), (), float("nan")
    axes = torch.stack([_flat(one, weights) for one in (first, second)]).double()
    inner = axes @ axes.T
    found, within, whole = [], 0.0, 0.0
    for state in states:
        apart = _flat(state, weights).double() - here
        place = torch.linalg.lstsq(inner, (axes @ apart)[:, None]).solution[:, 0]
        found.append(place.tolist())
        within += float(place @ inner @ place)
        whole += float(apart.square().sum())
    return np.array(found), steps, within / whole if whole > 0 else float("nan")
