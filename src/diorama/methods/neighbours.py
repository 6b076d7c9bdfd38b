"""Who is whose neighbour, in a layer and in a picture of it: how far a picture is to be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .projecting import Floats, own_dice, quiet

MOST = 6000
"""Of more points the table of all ranks would be too large."""


def trustworthiness(rows: Floats, points: Floats, near: int) -> float:
    """How few points have one among their nearest in the picture that is far from them in truth: 1 where none has.

    *Source* Venna & Kaski 2001, as scikit-learn makes it.
    """
    with own_dice():
        from sklearn import manifold
    return float(manifold.trustworthiness(rows, points, n_neighbors=near))


def continuity(rows: Floats, points: Floats, near: int) -> float:
    """How few points have lost one of their nearest to a far place of the picture: 1 where none has.

    *Source* Venna & Kaski 2001: the trustworthiness of the layer as a picture of the picture.
    """
    return trustworthiness(points, rows, near)


def trust(rows: Floats, points: Floats, near: int) -> Floats:
    """How far each point's neighbours in the picture are near it in truth, (n,), 1 at most; their mean is the trustworthiness."""
    count = len(rows)
    if count > MOST or near < 1 or 2 * count - 3 * near - 1 <= 0:
        return np.ones(count)
    order = np.argsort(_apart(rows), 1, kind="stable")
    ranks = np.empty_like(order)
    ranks[np.arange(count)[:, None], order] = np.arange(count)
    beside = np.argsort(_apart(points), 1, kind="stable")[:, 1 : near + 1]
    beyond = np.maximum(0, ranks[np.arange(count)[:, None], beside] - near)
    found: Floats = 1 - beyond.sum(1) * 2 / (near * (2 * count - 3 * near - 1))
    return found


def nearest(rows: Floats, near: int) -> NDArray[np.int64]:
    """The nearest others of each row, (n, near)."""
    with own_dice():
        from sklearn.neighbors import NearestNeighbors
    found: NDArray[np.int64] = NearestNeighbors(n_neighbors=near).fit(rows).kneighbors(return_distance=False)
    return found


def shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The share of neighbours that two tables have in common, on average."""
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(one, other, strict=True)]) / one.shape[1])


def kept(before: Floats, rows: Floats, near: int = 10) -> Floats:
    """The share of its nearest others that each row has kept, 0 to 1, (n,)."""
    near = min(near, len(rows) - 1)
    tables = zip(nearest(before, near), nearest(rows, near), strict=True)
    return np.array([len(np.intersect1d(one, other)) for one, other in tables]) / near


def hit(near: NDArray[np.int64], classes: NDArray[np.int64]) -> float:
    """The neighbourhood hit: the share of each row's neighbours that are of its class, on average over rows whose class is known.

    *Source* Paulovich et al. 2008.
    """
    known = classes >= 0
    return float((classes[near[known]] == classes[known][:, None]).mean()) if known.any() else 0.0


def split(rows: Floats) -> NDArray[np.bool_]:
    """Which rows belong to the second of the two groups into which they fall most clearly (k-means with two middles)."""
    with own_dice(), quiet():
        from sklearn.cluster import KMeans

        found: NDArray[np.bool_] = KMeans(2, n_init=3, random_state=0).fit_predict(rows) == 1
    return found


def separation(rows: Floats, second: NDArray[np.bool_]) -> float:
    """How far two groups of rows lie apart: the silhouette, 1 at most, 0 where they are mixed or one is empty.

    *Source* Rousseeuw 1987, as scikit-learn makes it.
    """
    if not 0 < second.sum() < len(rows) or len(rows) < 3:
        return 0.0
    with own_dice(), quiet():
        from sklearn.metrics import silhouette_score

        return float(silhouette_score(rows, second))


def _apart(rows: Floats) -> Floats:
    """Squared distances between all rows; a row lies nearest to itself, also where others lie at its place."""
    squares = (rows**2).sum(1)
    found: Floats = squares[:, None] + squares[None] - 2 * rows @ rows.T
    np.fill_diagonal(found, -np.inf)
    return found
