"""Multidimensional scaling: distances as they are, as far as a plane can hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ..placement import Floats, Placement, Projection, begun_at, principal, sized, usable

CHUNK = 20
"""So many iterations are a stage."""
MOST = 4000
"""Of more examples the table of all distances would be too large."""
NOTHING, SETTLED = 1e-5, 1e-6
"""What points at one place lie apart, and the share of all squared distances by which the stress falls where it rests; as in scikit-learn."""


class MDS(Projection):
    """Distances as they are: metric scaling moves points until their distances are as near those in the layer as they can be.

    *Meaning* far is far and near is near, on the whole; single neighbours count less than in t-SNE.
    *Error* the stress, and the trustworthiness.
    *Cost* up to 300 iterations over all pairs of examples.
    *Source* Kruskal 1964; de Leeuw 1977 (SMACOF), with the rules of scikit-learn's, begun at the principal components.
    """

    title = "MDS"
    free = True

    iterations: int = knob(300, "So many iterations at most.", low=1, high=5000)

    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any) -> Iterator[Placement]:
        """The rows' places after each 20 iterations, until the stress no longer falls."""
        if len(rows) > MOST:
            raise NotApplicable(f"MDS looks at all pairs, {MOST:,} examples at most, got {len(rows):,}; choose method=tsne or pca")
        rows, by = sized(rows)
        apart = _distances(rows)
        start = usable(start)
        points, done = principal(rows, dimensions) if start is None or by != 1 else start, 0
        if (state := begun_at(begun, points=points.shape)) is not None:
            done, points = min(int(state["done"]), self.iterations), np.array(state["points"])
        settled = not apart.any()
        while done < self.iterations and not settled:
            chunk = min(CHUNK, self.iterations - done)
            points, taken = _majorized(apart, points, chunk)
            settled = taken < chunk
            done = self.iterations if settled else done + chunk
            yield Placement(points * by, done, self.iterations, f"iteration {done}", lambda now=done, at=points: _state(at, now))  # type: ignore[misc]
        yield Placement(points * by)


def _distances(rows: Floats) -> Floats:
    """All distances between rows, (n, n)."""
    whole = torch.from_numpy(np.array(rows, np.float64))
    found: Floats = torch.cdist(whole, whole, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    return found


def _majorized(apart: Floats, points: Floats, most: int) -> tuple[Floats, int]:
    """Points after at most so many Guttman transforms, and how many there were until the stress fell by next to nothing.

    As scikit-learn's ``smacof``, whose loading takes longer than all maps of a training.
    """
    distances, before = _distances(points), np.inf
    for done in range(1, most + 1):
        ratio = apart / np.where(distances == 0, NOTHING, distances)
        points = (ratio.sum(1)[:, None] * points - ratio @ points) / len(points)
        distances = _distances(points)
        stress = float(np.square(distances - apart).sum()) / 2
        if before - stress < SETTLED * float(np.square(distances).sum()) / 2:
            return points, done
        before = stress
    return points, most


def _state(points: Floats, done: int) -> Mapping[str, Any]:
    return {"done": done, "points": np.array(points)}
