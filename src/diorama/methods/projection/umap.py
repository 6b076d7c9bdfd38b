"""Uniform manifold approximation and projection: neighbours as a graph, laid out on a plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.errors import NotApplicable, Unavailable
from ...core.knobs import knob
from ..placement import Floats, Placement, Projection, alike, own_dice, principal, quiet, sized, usable

AGAIN = 0.18
"""From an earlier step so large a part of the epochs is enough."""
PACE = 0.03
"""And so large a part of the way that a point goes in each: more would let points wander and neighbours be lost."""
TURNED, GENTLY = 0.5, 0.01
"""Where a layer kept less than this share of its neighbours a point goes this part: what turns over now is settled at the next snapshots."""
CALM = 0.005
"""Then as many epochs go this part of the way, in which points come to rest where their neighbours have gone."""
TINY = 1e-4
"""Points of an earlier map that lie at one place are put so far apart, as a part of its spread: else they would never part."""
FEW = 10_000
"""Among so many rows the nearest are found by comparing all, which costs less than the library's search."""
SMALL = 10_000
"""Up to so many examples UMAP takes 500 epochs, of more 200."""


class UMAP(Projection):
    """Neighbours as a graph whose edges are springs: UMAP keeps who lies near whom, and more of how groups lie than t-SNE.

    *Meaning* near points are alike; distances between groups say little.
    *Error* the trustworthiness, and the neighbours that are lost.
    *Cost* the nearest neighbours of each example, then up to 500 epochs; less than a fifth of them from an earlier step.
    *Source* McInnes, Healy & Melville 2018, as umap-learn makes it.
    """

    title = "UMAP"
    free = True
    tied = True

    neighbors: int = knob(15, "So many neighbours are the edges of each point; fewer where there are fewer examples.", low=2, high=500)
    min_dist: float = knob(0.1, "How near points may lie to each other.", low=0.0, high=1.0)
    seed: int = knob(0, "What chance is drawn from.", low=0, high=2**31 - 1)

    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any, held: Floats | None = None) -> Iterator[Placement]:
        """The rows' places, in one stage."""
        if len(rows) < 5:
            raise NotApplicable(f"UMAP wants at least 5 examples, got {len(rows)}; choose method=pca")
        if alike(rows):
            yield Placement(np.zeros((len(rows), dimensions)))
            return
        start, rows = usable(start), sized(rows)[0]
        yield Placement(
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
            if start is None:
                algorithm = umap.UMAP(near, dimensions, min_dist=self.min_dist, random_state=self.seed, n_jobs=1, init=first, n_epochs=epochs)
                points = np.asarray(algorithm.fit_transform(rows), np.float64)
            else:
                pace = GENTLY if held is not None and len(held) and held.mean() < TURNED else PACE
                points = self._gone_on(rows, start, near, round(AGAIN * epochs), pace)
        yield Placement(points)

    def _gone_on(self, rows: Floats, start: Floats, near: int, epochs: int, pace: float) -> Floats:
        """The library's epochs from a map at its own scale: its own call would stretch that to ten by ten, and points would go to and fro."""
        from sklearn.utils import check_random_state
        from umap import umap_
        from umap.layouts import optimize_layout_euclidean

        dice, single = check_random_state(self.seed), rows.astype(np.float32)
        if len(rows) <= FEW:
            which, apart = _nearest(rows, near)
        else:
            which, apart, _ = umap_.nearest_neighbors(single, near, "euclidean", {}, False, dice, n_jobs=1)
        graph = umap_.fuzzy_simplicial_set(single, near, dice, "euclidean", knn_indices=which, knn_dists=apart)[0].tocoo()
        graph.sum_duplicates()
        graph.data[graph.data < graph.data.max() / epochs] = 0
        graph.eliminate_zeros()
        places = start.astype(np.float32)
        if len(np.unique(places, axis=0)) < len(places):
            places += dice.normal(scale=TINY * places.std(), size=places.shape).astype(np.float32)
        places = np.ascontiguousarray(places - places.min(0))
        drawn = dice.randint(umap_.INT32_MIN, umap_.INT32_MAX, 3).astype(np.int64)
        curve = umap_.find_ab_params(1.0, self.min_dist)
        found = places
        for part in (pace, CALM):
            # The library counts the epochs of an edge in what it is given, and draws on from it.
            paces = umap_.make_epochs_per_sample(graph.data, epochs)
            found = optimize_layout_euclidean(
                found, found, graph.row, graph.col, epochs, len(rows), paces, *curve, drawn, initial_alpha=part, move_other=True
            )
        return np.asarray(found, np.float64)


def _nearest(rows: Floats, near: int) -> tuple[Any, Any]:
    """The nearest of each row, itself first, and how far they are."""
    from sklearn.neighbors import NearestNeighbors

    # A row's distance to itself is nothing, to the bit: the library takes the first that is more for how far its nearest other lies.
    apart, which = NearestNeighbors(n_neighbors=near - 1, algorithm="brute").fit(rows).kneighbors()
    own = np.arange(len(rows), dtype=np.int32)[:, None]
    return np.hstack([own, which.astype(np.int32)]), np.hstack([0 * own, apart]).astype(np.float32)
