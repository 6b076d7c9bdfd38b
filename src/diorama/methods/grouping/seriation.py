"""Orders of a matrix's rows that show its structure."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from .clusters import LARGEST, profiles

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

ORDERS = ("tree", "spectral", "peak", "mean", "index")
"""``tree``: neighbours as alike as a tree of clusters allows; ``spectral``: along the slowest change between alike rows;
``peak``: by the column where a row is largest; ``mean``: largest first; ``index``: as they came."""
_EXACT = 300
"""The best order of a tree's leaves takes cubic time; beyond so many rows the tree's own order must do."""


def ordered(rows: Floats, how: str = "tree", levels: Floats | None = None) -> Whole:
    """An order of the rows, one of :data:`ORDERS`; rows that are constant or not numbers come last.

    ``levels`` is what the mean of each row is of, where the rows are scores about their own means.

    *Source* Bar-Joseph et al. 2001 for ``tree``; Atkins, Boman & Hendrickson 1998 for ``spectral``.
    """
    rows = np.asarray(rows, np.float64)
    if how == "index" or not rows.size:
        return np.arange(len(rows))
    if how in ("peak", "mean"):
        plain = np.where(np.isfinite(rows), rows, -np.inf)
        if how == "mean":
            told = rows if levels is None else np.asarray(levels, np.float64)
            there = np.isfinite(told)
            means = np.where(there, told, 0.0).sum(1) / np.maximum(there.sum(1), 1)
            return np.argsort(np.where(there.any(1), -means, np.inf), kind="stable")
        still = ~np.isfinite(rows).any(1) | (plain.max(1) <= plain.min(1))
        return np.lexsort((-plain.max(1), np.where(still, rows.shape[1], plain.argmax(1))))
    shapes, said = profiles(rows)
    rest = np.setdiff1d(np.arange(len(rows)), said)
    if len(said) < 3:
        return np.concatenate([said, rest])
    if len(said) > LARGEST:
        # Too many for all pairs: along their first principal component.
        centred = shapes - shapes.mean(0)
        along = centred @ np.linalg.svd(centred.T @ centred)[0][:, 0]
        return np.concatenate([said[np.argsort(along, kind="stable")], rest])
    inner = _spectral(shapes) if how == "spectral" else _leaves(shapes)
    # Of an order and its mirror, the one whose first rows stand first in the matrix.
    if np.corrcoef(inner, np.arange(len(inner)))[0, 1] < 0:
        inner = inner[::-1]
    return np.concatenate([said[inner], rest])


def _leaves(shapes: Floats) -> Whole:
    apart = scipy.spatial.distance.pdist(shapes)
    tree = scipy.cluster.hierarchy.linkage(apart, "average")
    if len(shapes) <= _EXACT:
        tree = scipy.cluster.hierarchy.optimal_leaf_ordering(tree, apart)
    return np.asarray(scipy.cluster.hierarchy.leaves_list(tree), np.int64)


def _spectral(shapes: Floats) -> Whole:
    """Along the Fiedler vector of the graph whose edges are the correlations above zero; a thread joins all."""
    alike = np.clip(shapes @ shapes.T, 0, None) + 1e-3
    np.fill_diagonal(alike, 0.0)
    degrees = alike.sum(1)
    scale = 1 / np.sqrt(np.maximum(degrees, 1e-12))
    values, vectors = np.linalg.eigh(np.eye(len(alike)) - scale[:, None] * alike * scale)
    return np.argsort(vectors[:, np.argsort(values, kind="stable")[1]] * scale, kind="stable")
