"""Who is whose neighbour, in a layer and in a picture of it: how far a picture is to be trusted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from .placement import Floats, own_dice, quiet

MOST = 6000
"""Of more points the table of all ranks would be too large: they are counted a few rows at a time."""
FEW = 1024
"""Among so many points all are compared: to load scikit-learn, which searches among more, takes longer."""
JUDGED = 5000
"""Of points beyond twice :data:`MOST` so many are judged, by lot, each among all."""
AT_ONCE = 4_000_000
"""So many distances are held at once."""


def trustworthiness(rows: Floats, points: Floats, near: int) -> float:
    """How few points have one among their nearest in the picture that is far from them in truth: 1 where none has.

    *Source* Venna & Kaski 2001, as scikit-learn makes it.
    """
    if len(rows) <= FEW:
        return float(trust(rows, points, near).mean())
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
    if near < 1 or 2 * count - 3 * near - 1 <= 0:
        return np.ones(count)
    if count > MOST:
        return trust_of(rows, points, near, np.arange(count))
    order = np.argsort(_apart(rows), 1, kind="stable")
    ranks = np.empty_like(order)
    ranks[np.arange(count)[:, None], order] = np.arange(count)
    beside = np.argsort(_apart(points), 1, kind="stable")[:, 1 : near + 1]
    beyond = np.maximum(0, ranks[np.arange(count)[:, None], beside] - near)
    found: Floats = 1 - beyond.sum(1) * 2 / (near * (2 * count - 3 * near - 1))
    return found


def trust_of(rows: Floats, points: Floats, near: int, which: NDArray[np.int64], check: Callable[[], object] | None = None) -> Floats:
    """The :func:`trust` of some points, each among all: their mean is the trustworthiness over them. ``check`` may raise to stop.

    *Cost* as many distances as there are pairs of them and all points, some millions at a time.
    """
    count, beside = len(rows), nearest(points, near, which)
    squares = (rows**2).sum(1)
    found = np.empty(len(which))
    pace = max(1, AT_ONCE // count)
    for start in range(0, len(which), pace):
        if check is not None:
            check()
        some = which[start : start + pace]
        apart = squares[some, None] + squares[None] - 2 * rows[some] @ rows.T
        apart[np.arange(len(some)), some] = -np.inf
        theirs = np.take_along_axis(apart, beside[start : start + pace], 1)
        ranks = np.stack([(apart < theirs[:, k, None]).sum(1) for k in range(near)], 1)
        found[start : start + pace] = np.maximum(0, ranks - near).sum(1)
    return 1 - found * 2 / (near * (2 * count - 3 * near - 1))


def judged(count: int, most: int = JUDGED) -> NDArray[np.int64]:
    """Which of so many points are judged where all would take too long: some by lot, the same each time."""
    return np.arange(count) if count <= 2 * most else np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def nearest(rows: Floats, near: int, which: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The nearest others of each row, (n, near), or of some."""
    if len(rows) <= FEW:
        whole = torch.from_numpy(np.array(rows, np.float64))
        apart = torch.cdist(whole, whole, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(-1).numpy()
        few: NDArray[np.int64] = np.argsort(apart, 1, kind="stable")[slice(None) if which is None else which, 1 : near + 1]
        return few
    with own_dice():
        from sklearn.neighbors import NearestNeighbors
    search = NearestNeighbors(n_neighbors=near).fit(rows)
    if which is None or len(which) == len(rows):
        found: NDArray[np.int64] = search.kneighbors(return_distance=False)
        return found
    table = search.kneighbors(rows[which], near + 1, return_distance=False)
    # Each is its own nearest, but where others lie at its place.
    own = table == which[:, None]
    own[~own.any(1), -1] = True
    rest: NDArray[np.int64] = table[~own].reshape(len(which), near)
    return rest


def shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The share of neighbours that two tables have in common, on average."""
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(one, other, strict=True)]) / one.shape[1])


def kept(before: Floats, rows: Floats, near: int = 10) -> Floats:
    """The share of its nearest others that each row has kept, 0 to 1, (n,)."""
    near = min(near, len(rows) - 1)
    one, other = nearest(before, near), nearest(rows, near)
    found: Floats = (one[:, :, None] == other[:, None]).any(2).sum(1) / near
    return found


def hit(near: NDArray[np.int64], classes: NDArray[np.int64], which: NDArray[np.int64] | None = None) -> float:
    """The neighbourhood hit: the share of each row's neighbours that are of its class, on average over rows whose class is known.

    ``which`` says whose neighbours these are, where they are not all rows'. *Source* Paulovich et al. 2008.
    """
    own = classes if which is None else classes[which]
    known = own >= 0
    return float((classes[near[known]] == own[known][:, None]).mean()) if known.any() else 0.0


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
