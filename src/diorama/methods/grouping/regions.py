"""Rows that go together, as the communities of a graph."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from .clusters import profiles

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

MOST = 10
ROUNDS = 30
LARGEST = 2048
"""The graph is made of so many rows at most; the others join the community that they are correlated with most."""


def regions(rows: Floats, count: int = 0) -> tuple[Whole, float]:
    """Communities of the graph whose edges are the positive correlations of rows: the label of each, −1 for constant rows, and the modularity.

    Average linkage gives beginnings of 2 to ten communities (or of ``count``); in each, rows change theirs as long as the modularity
    rises, and the best stays. *Error* a local optimum, at least as good as every cut of the tree.
    *Source* Newman & Girvan 2004; Blondel et al. 2008 for the moves.
    """
    labels = np.full(len(rows), -1, np.int64)
    shapes, said = profiles(rows)
    if len(said) < 3:
        labels[said] = 0
        return labels, math.nan
    step = -(-len(said) // LARGEST)
    some = shapes[::step]
    graph = np.clip(some @ some.T, 0, None)
    np.fill_diagonal(graph, 0.0)
    if graph.sum() <= 0:
        labels[said] = 0
        return labels, math.nan
    condensed = 1 - (some @ some.T)[np.triu_indices(len(some), 1)]
    tree = scipy.cluster.hierarchy.linkage(np.clip(condensed, 0, None), "average")
    best, most = np.zeros(len(some), np.int64), -math.inf
    for wanted in (count,) if count else range(1, min(MOST, len(some) - 1) + 1):
        found = np.unique(scipy.cluster.hierarchy.fcluster(tree, wanted, "maxclust"), return_inverse=True)[1].astype(np.int64)
        found = _moved(graph, found, int(found.max()) + 1)
        if (value := modularity(graph, found)) > most + 1e-12:
            best, most = found, value
    best = np.unique(best, return_inverse=True)[1].astype(np.int64)
    if step == 1:
        labels[said] = best
    else:
        middles = np.stack([some[best == k].mean(0) for k in range(int(best.max()) + 1)])
        labels[said] = (shapes @ middles.T).argmax(1)
    return labels, most


def modularity(graph: Floats, labels: Whole) -> float:
    """The share of edges inside communities, less what chance would put there."""
    members = np.eye(int(labels.max()) + 1)[labels]
    total = float(graph.sum())
    degrees = members.T @ graph.sum(1)
    return float(np.einsum("ik,ij,jk->", members, graph, members, optimize=True) / total - np.square(degrees / total).sum())


def _moved(graph: Floats, labels: Whole, count: int) -> Whole:
    """Rows one after the other move to where the modularity gains most."""
    labels = labels.copy()
    degrees, total = graph.sum(1), float(graph.sum())
    inside = graph @ np.eye(count)[labels]
    sizes = np.eye(count)[labels].T @ degrees
    for _ in range(ROUNDS):
        moves = 0
        for k in range(len(labels)):
            own = labels[k]
            gains = inside[k] - degrees[k] * (sizes - degrees[k] * (np.arange(count) == own)) / total
            to = int(gains.argmax())
            if gains[to] <= gains[own] + 1e-12:
                continue
            inside[:, own] -= graph[k]
            inside[:, to] += graph[k]
            sizes[own] -= degrees[k]
            sizes[to] += degrees[k]
            labels[k] = to
            moves += 1
        if not moves:
            break
    return labels
