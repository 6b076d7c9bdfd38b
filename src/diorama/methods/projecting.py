"""What a projection is: many numbers of each example as a few, so that they can be seen."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.knobs import Plugin
from .cost import Cost

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Placed:
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

    def cost(self, examples: int) -> Cost:
        """What it needs of the model besides one look at each example: nothing."""
        return Cost(examples)

    @abc.abstractmethod
    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any) -> Iterator[Placed]:
        """Place rows (n, numbers) again and again, the last time for good; closing the iterator stops the work.

        ``start`` is an embedding to start from, (n, dimensions); ``begun`` the state that it was stopped in, plain data.
        """


def laid_onto(points: Floats, wanted: Floats) -> Floats:
    """Points (n, k) moved, turned and mirrored so that they lie as near as they can to others: distances stay.

    *Meaning* orthogonal Procrustes: least squares over all rotations, reflections and shifts.
    *Source* Schönemann 1966, as SciPy solves it.
    """
    from scipy.linalg import orthogonal_procrustes

    middle, there = points.mean(0), wanted.mean(0)
    turn, _ = orthogonal_procrustes(points - middle, wanted - there)
    found: Floats = (points - middle) @ turn + there
    return found


def trustworthiness(rows: Floats, points: Floats, near: int) -> float:
    """How few points have one among their nearest in the picture that is far from them in truth: 1 where none has.

    *Source* Venna & Kaski 2001, as scikit-learn makes it.
    """
    with own_dice():
        from sklearn import manifold
    return float(manifold.trustworthiness(rows, points, n_neighbors=near))


@contextlib.contextmanager
def own_dice() -> Iterator[None]:
    """Put Python's random numbers, which belong to the user, back: importing scikit-learn draws from them."""
    dice = random.getstate()
    try:
        yield
    finally:
        random.setstate(dice)
