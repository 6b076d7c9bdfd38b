"""What a projection is: many numbers of each example as a few, so that they can be seen."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import logging
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.blame import given, reckoned, sound, yielded
from ..core.errors import Faulty
from ..core.knobs import Plugin
from ..core.registry import is_own, told
from .cost import Cost

Floats = NDArray[np.float64]

FURTHEST = 1e30
"""How far from zero a place may lie: pictures hold 32-bit numbers, and distances are sums of squares."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the points are by now, (n, dimensions); how far the work is; and what is needed to go on from here."""

    points: Floats
    done: float = 1.0
    total: float = 1.0
    note: str = ""
    state: Callable[[], Any] | None = None


class Projection(Plugin, abc.ABC):
    """Base of all algorithms of projection; one file each in ``projection/``, whose file name is its name."""

    free: ClassVar[bool] = False
    """What it makes may be turned and mirrored without being another: it is laid onto the embedding that it follows."""
    tied: ClassVar[bool] = False
    """Whether ``placed`` takes ``held=`` beside an embedding to start from: how strongly each point is held to its place there, 0 to 1, (n,)."""

    def cost(self, examples: int) -> Cost:
        """What it needs of the model besides one look at each example: nothing."""
        return Cost(examples)

    @abc.abstractmethod
    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any) -> Iterator[Placement]:
        """Place rows (n, numbers) again and again, the last time for good; closing the iterator stops the work.

        ``start`` is an embedding to start from, (n, dimensions); ``begun`` the state that it was stopped in, plain data.
        """


def placements(
    algorithm: Projection, rows: Floats, dimensions: int, start: Floats | None, begun: Any, held: Floats | None = None
) -> Iterator[Placement]:
    """Every place that an algorithm yields. *Raises* Faulty where that is no point a row."""
    more = {"held": held} if algorithm.tied and held is not None else {}
    for placed in yielded(algorithm, lambda: algorithm.placed(rows, dimensions, start, begun, **more), Placement):
        reckoned(algorithm, sound(algorithm, placed), "done", "total")
        points = given(algorithm, placed.points, np.ndarray)
        if points.shape != (len(rows), dimensions):
            raise Faulty(f"{told(algorithm)} wants mending: points of the shape {(len(rows), dimensions)} are wanted, not {points.shape}")
        if not np.isfinite(points).any() and len(points):
            raise Faulty(f"{told(algorithm)} wants mending: none of the {len(points)} examples has a place: all its numbers are NaN or infinite")
        furthest = float(np.abs(points[np.isfinite(points)]).max(initial=0.0))
        if furthest > FURTHEST and not is_own(algorithm):
            what = f"it places examples as far out as {furthest:.3g}, and no picture reaches beyond {FURTHEST:.0e}"
            raise Faulty(f"{told(algorithm)} wants mending: {what}")
        yield placed


def principal(rows: Floats, dimensions: int) -> Floats:
    """The rows along the directions in which they differ most, (n, dimensions); 0 where there are fewer."""
    left, sizes, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    sign = np.where(right[np.arange(len(right)), np.abs(right).argmax(1)] < 0, -1.0, 1.0)
    found = np.zeros((len(rows), dimensions))
    found[:, : min(dimensions, len(sizes))] = (left * sizes * sign)[:, :dimensions]
    return found


def variances(rows: Floats, points: Floats) -> tuple[float, float]:
    """The share of the rows' variance that a map of their components (n, k) shows, and the largest that k directions can."""
    sizes = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    total = float(sizes.sum()) or 1.0
    return float(((points - points.mean(0)) ** 2).sum()) / total, float(sizes[: points.shape[1]].sum()) / total


def alike(rows: Floats) -> bool:
    """Whether no row differs from another, so that there is nothing to place."""
    return bool((rows == rows[:1]).all())


def sized(rows: Floats) -> tuple[Floats, float]:
    """Rows of a size whose squares are numbers too, and by what they were divided: 1 unless they are huge or tiny."""
    size = float(np.abs(rows).max(initial=0.0))
    by = 1.0 if 1e-12 < size < 1e12 or size == 0 else size
    return rows / by, by


def usable(start: Floats | None) -> Floats | None:
    """An embedding to start from; None where all its points, or all along one axis, lie at one place."""
    if start is None or not np.isfinite(start).all() or not (np.ptp(start, axis=0) > 0).all():
        return None
    return start


def begun_at(begun: Any, **shapes: tuple[int, ...]) -> dict[str, Any] | None:
    """A state that was kept, where it is one: a number of iterations, and finite arrays of these shapes."""
    if not isinstance(begun, dict) or set(begun) != {"done", *shapes} or type(begun["done"]) is not int:
        return None
    good = all(
        isinstance(array := begun[name], np.ndarray) and array.shape == shape and np.isfinite(array).all()
        for name, shape in shapes.items()
    )
    return begun if good and begun["done"] >= 0 else None


def unplaced(points: Floats) -> str:
    """A clause where a map says nothing of who is near whom: not all of its points have a place, or all have the same one; else empty."""
    count = int(np.isfinite(points).all(1).sum())
    if count < len(points):
        return f"only {count:,} of which {'has' if count == 1 else 'have'} a place in this map, so how near they lie was not measured"
    if count > 1 and not (np.ptp(points, axis=0) > 0).any():
        return "all at one place in this map, which says nothing of who is near whom"
    return ""


def laid_onto(points: Floats, wanted: Floats) -> Floats:
    """Points (n, k) moved, turned and mirrored so that they lie as near as they can to others: distances stay. Points without a place here or
    there have no say; where none has one at both, they stay as they are.

    *Meaning* orthogonal Procrustes: least squares over all rotations, reflections and shifts.
    *Source* Schönemann 1966, as SciPy solves it.
    """
    from scipy.linalg import orthogonal_procrustes

    both = np.isfinite(points).all(1) & np.isfinite(wanted).all(1)
    if not both.any():
        return points
    middle, there = points[both].mean(0), wanted[both].mean(0)
    turn, _ = orthogonal_procrustes(points[both] - middle, wanted[both] - there)
    found: Floats = (points - middle) @ turn + there
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to ourselves what a library warns its own callers of: its settings are ours, and what is odd is told in a picture."""
    log = logging.getLogger("openTSNE")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def own_dice() -> Iterator[None]:
    """Put Python's random numbers, which belong to the user, back: importing scikit-learn draws from them."""
    dice = random.getstate()
    try:
        yield
    finally:
        random.setstate(dice)
