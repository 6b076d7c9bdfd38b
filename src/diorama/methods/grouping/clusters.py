"""Rows that rise and fall together, as clusters."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

LARGEST = 1024
"""A tree is made of so many rows at most; the others join the cluster whose middle is nearest."""
ROUNDS = 50
"""Rounds in which rows may change their cluster; each only ever brings them nearer to the middles."""


@dataclasses.dataclass(frozen=True)
class Clustering:
    """Which cluster each row belongs to, numbered from 0; −1 for rows that say nothing: constant, or not numbers.

    ``silhouette`` is how clearly the rows lie in their clusters, −1 to 1; NaN where there is only one.
    """

    labels: Whole
    silhouette: float

    @property
    def count(self) -> int:
        """How many clusters there are."""
        return int(self.labels.max(initial=-1)) + 1


def clusters(rows: Floats, count: int = 0, most: int = 8) -> Clustering:
    """Cluster rows by the shape of their profiles, whatever their level and size.

    Each row is centred and brought to length one, so that squared distances are 2 (1 − correlation). Ward's tree is cut
    into ``count`` clusters (0: as many up to ``most`` as have the largest mean silhouette), and the cut is refined by k-means.

    *Source* Ward 1963; Lloyd 1982; Rousseeuw 1987 for the silhouette.
    """
    labels = np.full(len(rows), -1, np.int64)
    shapes, said = profiles(rows)
    if not len(said):
        return Clustering(labels, math.nan)
    step = -(-len(said) // LARGEST)
    some = shapes[::step]
    found, clear = _cut(some, min(count, len(some)), most)
    middles = np.stack([some[found == k].mean(0) for k in range(int(found.max()) + 1)])
    whole = _refined(shapes, middles)
    labels[said] = whole
    return Clustering(labels, clear)


def profiles(rows: Floats) -> tuple[Floats, Whole]:
    """Rows that say something, centred and of length one, and their numbers."""
    plain = np.asarray(rows, np.float64)
    finite = np.asarray(np.isfinite(plain).all(axis=1))
    plain = np.where(finite[:, None], plain, 0.0)
    middle = plain.mean(1, keepdims=True) if plain.shape[1] > 1 else np.zeros((len(plain), 1))
    centred = plain - middle
    size = np.linalg.norm(centred, axis=1)
    # What a mean of equal numbers leaves is rounding.
    said = np.flatnonzero(finite & (size > 1e-6 * np.linalg.norm(plain, axis=1)) & (size > 0))
    return centred[said] / size[said, None], said


def matched(labels: Whole, before: Whole) -> Whole:
    """The same clusters, numbered so that as many rows as can be keep the number that they had before."""
    if len(labels) != len(before) or labels.max(initial=-1) < 0:
        return labels
    count = int(max(labels.max(), before.max(initial=-1))) + 1
    both = np.zeros((count, count))
    there = (labels >= 0) & (before >= 0)
    np.add.at(both, (labels[there], before[there]), 1)
    rows, columns = scipy.optimize.linear_sum_assignment(both, maximize=True)
    new = np.empty(count, np.int64)
    new[rows] = columns
    # Numbers without a hole: a cluster that has gone leaves its number to the last one.
    used = np.unique(new[labels[labels >= 0]])
    dense = np.full(count, -1, np.int64)
    dense[used] = np.arange(len(used))
    return np.where(labels >= 0, dense[new[np.maximum(labels, 0)]], -1)


def _cut(shapes: Floats, count: int, most: int) -> tuple[Whole, float]:
    if len(shapes) < 3 or count == 1:
        return np.arange(len(shapes)) if count == len(shapes) else np.zeros(len(shapes), np.int64), math.nan
    apart = scipy.spatial.distance.pdist(shapes)
    tree = scipy.cluster.hierarchy.linkage(shapes, "ward")
    square = scipy.spatial.distance.squareform(apart)
    best: tuple[Whole, float] | None = None
    for wanted in (count,) if count else range(2, min(most, len(shapes) - 1) + 1):
        labels = _dense(scipy.cluster.hierarchy.fcluster(tree, wanted, "maxclust"))
        labels = _refined(shapes, np.stack([shapes[labels == k].mean(0) for k in range(int(labels.max()) + 1)]))
        clear = _silhouette(square, labels)
        if best is None or clear > best[1] + 1e-9:
            best = labels, clear
    assert best is not None
    return best


def _dense(labels: Any) -> Whole:
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)


def _refined(shapes: Floats, middles: Floats) -> Whole:
    """K-means from some middles."""
    labels = np.full(len(shapes), -1)
    for _ in range(ROUNDS):
        away = np.square(middles).sum(1) - 2 * shapes @ middles.T
        found = away.argmin(1)
        if (found == labels).all():
            break
        labels = found
        middles = np.stack([shapes[labels == k].mean(0) if (labels == k).any() else middles[k] for k in range(len(middles))])
    return _dense(labels)


def _silhouette(apart: Floats, labels: Whole) -> float:
    """The mean silhouette, from all distances; a row alone in its cluster counts 0."""
    count = int(labels.max()) + 1
    if count < 2:
        return math.nan
    members = np.eye(count)[labels]
    sizes = members.sum(0)
    sums = apart @ members
    own = sums[np.arange(len(labels)), labels] / np.maximum(sizes[labels] - 1, 1)
    others = np.where(members > 0, np.inf, sums / sizes).min(1)
    with np.errstate(invalid="ignore"):
        clear = np.where(sizes[labels] > 1, (others - own) / np.maximum(np.maximum(own, others), 1e-300), 0.0)
    return float(clear.mean())
