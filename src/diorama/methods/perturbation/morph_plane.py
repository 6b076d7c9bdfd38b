"""A plane through two inputs, and ways that are drawn on it by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import NotApplicable
from ...data.nesting import Nested
from ..method import Look
from .morph import InputWay, Points

MOST = 20_000
"""Inputs of more numbers than this are compared by fewer examples, so that they fit into memory."""


class InputPlane:
    """A plane of inputs: x goes from the start (0) to the end (1), y aside, at right angles and in the same unit.

    *Meaning* aside is where a third input lies, or else where the examples differ most among themselves apart from the
    way itself (the first principal component of what is left).
    """

    def __init__(
        self, look: Look, start: Nested, end: Nested, third: Nested | None = None, others: Nested | None = None
    ) -> None:
        self.way = InputWay(look, start, end)
        self.along = [b - a for a, b in zip(*self.way.ends, strict=True)]
        self.length = float(_flat(self.along).norm())
        if not math.isfinite(self.length):
            raise NotApplicable("start or end holds numbers that are not finite, so no plane goes through them")
        if not self.length:
            raise NotApplicable("start and end are the same input, so no plane goes through them; choose another end")
        self.third: tuple[float, float] | None = None
        self.spread = 0.0
        """The share of the examples' differences that the direction aside holds, where it comes from them."""
        if third is not None:
            self._to(third)
        else:
            self._most(others)

    def _to(self, third: Nested) -> None:
        far = [c - a for c, a in zip(InputWay(self.way.look, self.way.start, third).ends[1], self.way.ends[0], strict=True)]
        x = float(_flat(far) @ _flat(self.along)) / self.length**2
        rest = [c - x * b for c, b in zip(far, self.along, strict=True)]
        y = float(_flat(rest).norm()) / self.length
        if y < 1e-6:
            raise NotApplicable("the third example lies on the straight way, so it spans no plane; choose another one")
        self.aside = [part / y for part in rest]
        self.third = (x, y)

    def _most(self, others: Nested | None) -> None:
        if others is None:
            raise NotApplicable("a plane wants a third example, or examples to find a direction aside from")
        look = self.way.look
        points = [part.detach() for part in look.points(look.floats(others))]
        few = len(points[0]) if _flat(self.along).numel() <= MOST else 128
        rows = torch.cat([part[:few].flatten(1) for part in points], 1)
        rows = rows[rows.isfinite().all(1)]  # one that holds no numbers would leave none of the others
        if len(rows) < 2:
            raise NotApplicable("fewer than two examples hold finite numbers, so there is no direction aside")
        rows = rows - rows.mean(0)
        unit = _flat(self.along) / self.length
        rows = rows - (rows @ unit)[:, None] * unit
        total = float(rows.square().sum())
        values, vectors = torch.linalg.eigh((rows @ rows.T).double())
        if total <= 0 or float(values[-1]) <= 1e-12 * max(total, 1e-30):
            raise NotApplicable("the examples differ in nothing but the way itself, so there is no direction aside")
        found = vectors[:, -1].to(rows) @ rows
        found = found / found.norm()
        # Of the two signs the one that makes the largest part positive, so that it is always the same.
        found = found * found[found.abs().argmax()].sign() * self.length
        sizes = [part[0].numel() for part in self.along]
        self.aside = [
            piece.reshape(part.shape) for piece, part in zip(found.split(sizes), self.along, strict=True)
        ]
        self.spread = float(values[-1]) / total

    def points(self, places: NDArray[np.float64]) -> Points:
        """The inputs (or embeddings) at places (n, 2) of the plane."""
        made = []
        for a, u, v in zip(self.way.ends[0], self.along, self.aside, strict=True):
            xy = torch.as_tensor(places, dtype=a.dtype, device=a.device).reshape(len(places), 2, *[1] * (a.ndim - 1))
            made.append(a + xy[:, 0] * u + xy[:, 1] * v)
        return tuple(made)

    def scores(self, places: NDArray[np.float64], together: int = 64) -> Iterator[Tensor]:
        """The model's scores at places (n, 2), some at a time."""
        for first in range(0, len(places), together):
            chunk = places[first : first + together]
            yield self.way.run([0.0] * len(chunk), points=self.points(chunk)).scores.detach().cpu()


class DrawnWay(InputWay):
    """A way drawn by hand over a plane: through the given places, in even pace."""

    title = "drawn way"

    def __init__(self, plane: InputPlane, drawn: Sequence[tuple[float, float]]) -> None:
        super().__init__(plane.way.look, plane.way.start, plane.way.end)
        self.plane = plane
        self.knots = knots(drawn)
        steps = np.linalg.norm(np.diff(self.knots, axis=0), axis=1)
        self._far = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()

    def places(self, places: Sequence[float]) -> NDArray[np.float64]:
        """Where on the plane the places of the way lie, (n, 2)."""
        return np.stack([np.interp(list(places), self._far, self.knots[:, k]) for k in range(2)], 1)

    def points(self, places: Sequence[float]) -> Points:
        """What is put in at each place."""
        return self.plane.points(self.places(places))


def knots(drawn: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """The places that a drawn way goes through, start and end included, none twice in a row, (n, 2)."""
    whole = np.array([(0.0, 0.0), *drawn, (1.0, 0.0)], np.float64)
    kept = np.concatenate([[True], np.linalg.norm(np.diff(whole, axis=0), axis=1) > 1e-9])
    found: NDArray[np.float64] = whole[kept]
    return found


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])
