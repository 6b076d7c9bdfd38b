"""Planes through the weights of a network, and the network at a place of one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.errors import NotApplicable, UsageError, not_found
from ..model.averages import normalized, reestimate
from ..model.duplicate import duplicate
from . import directions as named
from .memory import Memory

if TYPE_CHECKING:
    from .scene import Scene

Floats = NDArray[np.float64]
Weights = dict[str, Tensor]
NUMBERS = 2**26
"""So many numbers of snapshots are held at once."""
SAMPLED = 24
"""At most so many snapshots are looked at, the first and the last among them."""
DIRECTIONS = ("random", "trajectory", "between")
"""What a plane is spanned by."""
STATISTICS = ("snapshot", "anew")
"""Batch norm away from the network itself: the statistics at hand, or estimated anew."""
PLANE = "plane:"
"""How the key of an edit begins that moves the weights: ``plane:random``."""


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
    """The weights that may be moved: all dense real parameters of 16 bits and more, each once. *Raises* NotApplicable where there are none."""
    found = {name: value.detach().clone() for name, value in scene.model.named_parameters() if _movable(value)}
    if not any(value.ndim > 1 and value.numel() for value in found.values()):
        raise NotApplicable("it moves weights, and this network has no layer with real ones")
    return found


def _movable(value: Tensor) -> bool:
    """Whether sums of weights can be made: those of 8 bits are only kept, and what is sparse has no kernel."""
    return value.is_floating_point() and value.element_size() > 1 and value.layout is torch.strided and not value.is_meta


def broken_tensors(weights: Mapping[str, Tensor]) -> int:
    """How many of them hold what is not a finite number."""
    real = [value for value in weights.values() if value.is_floating_point() and not value.is_meta]
    dense = [value if value.layout is torch.strided else value.to_dense() for value in real]
    return sum(not bool(value.double().isfinite().all()) for value in dense)


def _resting(weights: Mapping[str, Tensor]) -> str:
    """Which weights random directions do not move."""
    still = sum(value.ndim < 2 for value in weights.values())
    return f" Biases, scales of norms and whatever else has a single axis stay as they are ({still} of {len(weights)} parameters)." if still else ""


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
    words = (
        f"Both directions are drawn at random (seed {seed}), each kernel as long as the network's own: 1 is as far as the weights are long."
        f"{_resting(weights)}"
    )
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


def sampled(steps: Sequence[int], count: int = SAMPLED) -> tuple[int, ...]:
    """Steps as evenly as they lie, the first and the last among them."""
    steps = sorted(steps)
    if len(steps) <= count:
        return tuple(steps)
    grid = np.linspace(steps[0], steps[-1], count)
    return tuple(sorted({steps[0], steps[-1], *(min(steps, key=lambda step: abs(step - at)) for at in grid.tolist())}))


def plane(scene: Scene, directions: str, to: int | None = None, seed: int = 0, reach: float = 1.0) -> WeightPlane:
    """The plane of a name through a scene's weights; ``reach`` is how far random directions are shown."""
    if directions == "random":
        return random(scene, seed, reach)
    if directions == "trajectory":
        return trajectory(scene)
    if to is None and scene.other is not None:
        if scene.other.missing is not None:
            raise NotApplicable(scene.other.missing)
        told = scene.other.name if scene.other.step is None else f"{scene.other.name} at step {scene.other.step}"
        return towards(scene, dict(scene.other.model.named_parameters()), told, seed)
    if scene.run is None:
        raise NotApplicable("a slice between two networks wants a second one: other=, or a run with snapshots")
    step = scene.steps[-1] if to is None else min(scene.steps, key=lambda one: abs(one - to))
    if step == scene.step:
        step = scene.steps[0]
    return towards(scene, scene.run.state(step), f"step {step}", seed)


def place(at: object) -> tuple[float, float]:
    """A place of a plane from its text. *Raises* UsageError for what is none."""
    try:
        x, y = (float(part) for part in str(at).split(","))
    except ValueError:
        raise UsageError(f"at wants two numbers such as 0.5,-0.2, got {at!r}") from None
    if not (np.isfinite(x) and np.isfinite(y)):
        raise UsageError(f"at wants two finite numbers, got {at!r}")
    return x, y


def put(model: nn.Module, begun: Mapping[str, Tensor], plane: WeightPlane, at: tuple[float, float]) -> None:
    """Write the weights of a place into a model of one's own; ``begun`` are those of the network itself."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in plane.first:
                weight.copy_(begun[name] + at[0] * plane.first[name] + at[1] * plane.second[name])


@dataclasses.dataclass(frozen=True)
class MovedWeights:
    """From which scene the weights of another one were moved, and how, in words."""

    origin: Scene
    words: str


def moved(
    scene: Scene, directions: str, *, at: object = "0,0", to: int | None = None, seed: int = 0, statistics: str = "snapshot", **more: Any
) -> Scene:
    """The scene with its weights at a place of a plane through them: all else, its edits too, stays.

    *Meaning* whatever is asked of it is asked of the moved network; what a training recorded stays as it was. A scene that
    was moved is moved from where it stood.
    *Raises* UsageError for directions, a place or an option that is not there; NotApplicable where there is no such plane.
    """
    if directions not in DIRECTIONS:
        raise not_found("plane", directions, DIRECTIONS)
    if more:
        raise not_found("part of a move", next(iter(more)), ("at", "to", "seed", "statistics"))
    if statistics not in STATISTICS:
        raise not_found("way with the statistics of batch norm", statistics, STATISTICS)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed wants a whole number from 0, got {seed!r}")
    if to is not None and (isinstance(to, bool) or not isinstance(to, int)):
        raise UsageError(f"to wants a step, got {to!r}")
    where, start = place(at), origin(scene)
    beside = [other.fingerprint for other in start.others[:1]] if directions == "between" else []
    spanned = start.once(f"plane/{directions}/{to}/{seed}/{beside}", lambda: plane(start, directions, to, seed))
    model = duplicate(start.model)
    put(model, dict(start.model.named_parameters()), spanned, where)
    found = copy.copy(start)
    found._source, found._memory = start._source.holding(model), Memory()
    told = {"random": f"along random directions (seed {seed})", "trajectory": "along the directions of the training"}
    words = f"weights moved to {where[0]:g}, {where[1]:g} {told.get(directions, f'on {spanned.titles[0]}')}"
    found.moved = MovedWeights(start, words + (", batch norm estimated anew" if statistics == "anew" else ""))
    found.edits = ()
    if statistics == "anew" and normalized(model) and any(where):
        reestimate(model, (part for _, part in found.batches()), found.cancel)
        found._memory = Memory()
    found.edits = tuple(named.edit(found, one) for one in scene.edits)
    return found


def origin(scene: Scene) -> Scene:
    """The scene as it was before its weights were moved, looked at alike and without edits of its own."""
    start = scene.alone(scene.cancel) if scene.moved is None else scene.moved.origin.alone(scene.cancel)
    start.others = scene.others
    if start.edits:
        start.edits, start._memory = (), Memory()
    start._input = scene._input
    return start


def spread(scene: Scene, count: int) -> Scene:
    """The same scene, which looks at so many of its live examples, evenly spread over them."""
    found = copy.copy(scene)
    chosen = np.linspace(0, len(scene.live) - 1, min(count, len(scene.live))).round().astype(int).tolist()
    found._live, found._memory = scene.live.take(chosen), Memory()
    return found


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
