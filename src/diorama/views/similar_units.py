"""Units whose weights are alike: an order that puts them side by side, and groups with how clear they are."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class Grouping:
    """Groups of units, the largest first, alike ones side by side in each."""

    members: tuple[NDArray[np.int64], ...]
    silhouette: float


def alike(rows: Floats) -> NDArray[np.int64]:
    """An order of the rows in which neighbours point in similar directions."""
    if len(rows) < 3:
        return np.arange(len(rows))
    from scipy.cluster import hierarchy  # slow to load, and of more than two rows alone

    tree = hierarchy.linkage(_directions(rows), "average")
    # The best order of the leaves takes cubic time; beyond some hundred rows the plain one must do.
    if len(rows) <= 300:
        tree = hierarchy.optimal_leaf_ordering(tree, _directions(rows))
    order: NDArray[np.int64] = hierarchy.leaves_list(tree).astype(np.int64)
    return order


def grouped(rows: Floats, units: NDArray[np.int64]) -> Grouping:
    """Groups of the units by the directions of their rows (k-means on at most 16 principal components)."""
    points = _directions(rows)
    reduced = _principal(points, 16)
    cluster, silhouette_score = _scikit_learn()
    count = max(2, min(12, round(math.sqrt(len(rows) / 2))))
    distinct = len(np.unique(reduced.round(6), axis=0))
    if distinct < 2:
        return Grouping((units,), 0.0)
    labels = cluster.KMeans(min(count, distinct), n_init=4, random_state=0).fit_predict(reduced)
    found = sorted(
        (np.flatnonzero(labels == label) for label in np.unique(labels)), key=lambda group: (-len(group), group[0])
    )
    clear = float(silhouette_score(reduced, labels)) if 1 < len(found) < len(rows) else 0.0
    return Grouping(tuple(units[group[alike(rows[group])]] for group in found), clear)


def _directions(rows: Floats) -> Floats:
    """Rows of length one, so that the strength of a unit does not matter."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float64)


def _principal(points: Floats, count: int) -> Floats:
    """The points on their first principal axes."""
    if points.shape[1] <= count:
        return points
    left, values, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    reduced: Floats = left[:, :count] * values[:count]
    return reduced


def _scikit_learn() -> tuple[Any, Any]:
    # Importing it draws from Python's random numbers, which belong to the user; and it takes a second.
    state = random.getstate()
    try:
        from sklearn import cluster, metrics
    finally:
        random.setstate(state)
    return cluster, metrics.silhouette_score
