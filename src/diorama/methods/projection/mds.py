"""Multidimensional scaling: distances as they are, as far as a plane can hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ..projecting import Floats, Placed, Projection, begun_at, own_dice, principal, quiet, sized, usable

CHUNK = 20
"""So many iterations are a stage."""
MOST = 4000
"""Of more examples the table of all distances would be too large."""


class MDS(Projection):
    """Distances as they are: metric scaling moves points until their distances are as near those in the layer as they can be.

    *Meaning* far is far and near is near, on the whole; single neighbours count less than in t-SNE.
    *Error* the stress, and the trustworthiness.
    *Cost* up to 300 iterations over all pairs of examples.
    *Source* Kruskal 1964; de Leeuw 1977 (SMACOF), as scikit-learn makes it, begun at the principal components.
    """

    title = "MDS"
    free = True

    iterations: int = knob(300, "So many iterations at most.", low=1, high=5000)

    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any) -> Iterator[Placed]:
        """The rows' places after each 20 iterations, until the stress no longer falls."""
        if len(rows) > MOST:
            raise NotApplicable(f"MDS looks at all pairs, {MOST:,} examples at most, got {len(rows):,}; choose method=tsne or pca")
        with own_dice():
            from scipy.spatial.distance import pdist, squareform
            from sklearn.manifold import smacof
        rows, by = sized(rows)
        apart = squareform(pdist(rows))
        start = usable(start)
        points, done = principal(rows, dimensions) if start is None or by != 1 else start, 0
        if (state := begun_at(begun, points=points.shape)) is not None:
            done, points = min(int(state["done"]), self.iterations), np.array(state["points"])
        settled = not apart.any()
        while done < self.iterations and not settled:
            chunk = min(CHUNK, self.iterations - done)
            with quiet():
                points, _, taken = smacof(
                    apart, n_components=dimensions, init=points, n_init=1, max_iter=chunk, return_n_iter=True,
                    normalized_stress=False,
                )
            settled = taken < chunk
            done = self.iterations if settled else done + chunk
            yield Placed(points * by, done, self.iterations, f"iteration {done}", lambda now=done, at=points: _state(at, now))  # type: ignore[misc]
        yield Placed(points * by)


def _state(points: Floats, done: int) -> Mapping[str, Any]:
    return {"done": done, "points": np.array(points)}
