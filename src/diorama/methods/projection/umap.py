"""Uniform manifold approximation and projection: neighbours as a graph, laid out on a plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.errors import NotApplicable, Unavailable
from ...core.knobs import knob
from ..projecting import Floats, Placed, Projection, alike, own_dice, principal, quiet, sized, usable

AGAIN = 0.2
"""From an earlier step so large a part of the epochs is enough."""
GENTLY = 0.1
"""And so large a part of the way that a point goes in each: more would let points wander and neighbours be lost, less find fewer anew."""
FEW = 10_000
"""Among so many rows the nearest are found by comparing all, which costs less than the library's search."""
SMALL = 10_000
"""Up to so many examples UMAP takes 500 epochs, of more 200."""


class UMAP(Projection):
    """Neighbours as a graph whose edges are springs: UMAP keeps who lies near whom, and more of how groups lie than t-SNE.

    *Meaning* near points are alike; distances between groups say little.
    *Error* the trustworthiness, and the neighbours that are lost.
    *Cost* the nearest neighbours of each example, then up to 500 epochs; a fifth of them from an earlier step.
    *Source* McInnes, Healy & Melville 2018, as umap-learn makes it.
    """

    title = "UMAP"
    free = True

    neighbors: int = knob(15, "So many neighbours are the edges of each point; fewer where there are fewer examples.", low=2, high=500)
    min_dist: float = knob(0.1, "How near points may lie to each other.", low=0.0, high=1.0)
    seed: int = knob(0, "What chance is drawn from.", low=0, high=2**31 - 1)

    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any) -> Iterator[Placed]:
        """The rows' places, in one stage."""
        if len(rows) < 5:
            raise NotApplicable(f"UMAP wants at least 5 examples, got {len(rows)}; choose method=pca")
        if alike(rows):
            yield Placed(np.zeros((len(rows), dimensions)))
            return
        start, rows = usable(start), sized(rows)[0]
        yield Placed(
            start if start is not None else principal(rows, dimensions), 0.0, 1.0, "UMAP is compiled when it is first used, some seconds"
        )
        with quiet(), own_dice():
            try:
                import umap
            except Exception as error:  # numba fails in many ways where it does not suit the Python or NumPy that is there
                raise Unavailable(f"UMAP cannot be used here ({type(error).__name__}: {error}); choose method=tsne") from None
            epochs = 500 if len(rows) <= SMALL else 200
            if len(rows) <= dimensions + 2:
                first: Any = "random"  # too few for the eigenvectors
            else:
                first = "spectral"
            near = min(self.neighbors, len(rows) - 1)
            found: Any = (None, None, None) if start is None or len(rows) > FEW else _nearest(rows, near)
            algorithm = umap.UMAP(
                near, dimensions, min_dist=self.min_dist, random_state=self.seed, n_jobs=1, precomputed_knn=found,
                init=first if start is None else start.astype(np.float32),
                n_epochs=epochs if start is None else round(AGAIN * epochs), learning_rate=1.0 if start is None else GENTLY,
            )
            points = np.asarray(algorithm.fit_transform(rows), np.float64)
        yield Placed(points)


def _nearest(rows: Floats, near: int) -> tuple[Any, Any, Any]:
    """The nearest of each row, itself first, and how far they are."""
    from sklearn.neighbors import NearestNeighbors

    apart, which = NearestNeighbors(n_neighbors=near, algorithm="brute").fit(rows).kneighbors(rows)
    return which.astype(np.int32), apart.astype(np.float32), None
