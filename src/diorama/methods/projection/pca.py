"""Principal components: the directions in which examples differ most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.errors import NotApplicable
from ...core.numerals import counted
from ..placement import Floats, Placement, Projection, principal, sized, usable


class PCA(Projection):
    """Principal components: as much of the variance as so many directions at right angles can hold.

    *Meaning* distances in the picture are never larger than the true ones; what lies far apart is far apart. From an earlier map on
    components that so few examples cannot tell apart do not change places: of those the directions are shown that place the examples most as
    they were.
    *Error* the variance that is left out.
    *Cost* one singular value decomposition.
    *Source* Pearson 1901, with the signs of scikit-learn's; North et al. 1982 (which components examples tell apart).
    """

    title = "PCA"
    free = True

    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any) -> Iterator[Placement]:
        """The rows' places, in one stage."""
        if min(rows.shape) < dimensions:
            out = "ask for fewer dimensions" if min(rows.shape) > 1 else "look at more" if len(rows) == 1 else "choose a layer of more units"
            raise NotApplicable(
                f"{dimensions} principal components want at least so many examples and units, got {counted(len(rows), 'examples')} "
                f"of {counted(rows.shape[1], 'units')}; {out}"
            )
        rows, by = sized(rows)
        start = usable(start)
        # The library would give the same, seconds of the processor later: to load it takes longer than all maps of a training.
        points = principal(rows, dimensions if start is None else min(rows.shape))
        if start is not None:
            points = points @ _held(np.square(points).sum(0) / max(1, len(rows) - 1), points, start)
        points = points * by
        yield Placement(points)  # not in there: whoever asks for the next stage may be another thread, with settings of its own


def confused(variances: Floats, count: int, last: int) -> Floats:
    """How far each component may stand in for one (``last``), 0 to 1: 0 where so many examples tell the two apart, 1 where they are nearly equal.

    *Meaning* a variance is known up to √(2 / examples) of itself, and two that lie nearer are not told apart. As far as they are from
    being told apart, so much variance a direction that has a part of the other may lose: nothing jumps where they part.
    *Source* North et al. 1982.
    """
    known = np.sqrt(2 / count) * variances[last]
    gap = np.abs(variances - variances[last])
    with np.errstate(divide="ignore", invalid="ignore"):
        part: Floats = np.where(gap < known, np.sqrt(np.minimum(1.0, (known - gap) / gap)), 0.0)
    return part if variances[last] > 0 else np.zeros(len(variances))


def _held(variances: Floats, points: Floats, start: Floats) -> Floats:
    """The directions (components, dimensions) that are shown: the first ones, but among those not told apart from the last of them the nearest
    to an earlier map."""
    shown = start.shape[1]
    allowed = confused(variances, len(points), shown - 1)
    chosen = np.eye(len(variances))[:, :shown]
    inside, outside = np.flatnonzero(allowed[:shown] > 0), shown + np.flatnonzero(allowed[shown:] > 0)
    if not len(outside):
        return chosen
    some = points[:, np.r_[inside, outside]]
    before = np.linalg.qr(start - start.mean(0))[0]
    nearest = np.linalg.svd((some / np.linalg.norm(some, axis=0)).T @ before, full_matrices=False)[0][:, : len(inside)]
    own, others = nearest[: len(inside)], nearest[len(inside) :]
    sizes = np.linalg.norm(others, axis=1)
    others = others * np.minimum(1, allowed[outside] / np.where(sizes > 0, sizes, 1))[:, None]
    # What is left of each direction is made of the components that are shown, turned as they were.
    left, _, right = np.linalg.svd(own)
    values, vectors = np.linalg.eigh(np.eye(len(inside)) - others.T @ others)
    own = left @ right @ (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    chosen[np.ix_(inside, inside)], chosen[np.ix_(outside, inside)] = own, others
    return chosen
