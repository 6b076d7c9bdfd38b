"""Rows that go together, as the communities of a graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from .clusters import profiles

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

MOST = 10
ROUNDS = 30
FEWEST, MANIEST, HALVINGS = 0.25, 16.0, 10
"""How many times chance counts at least and at most, and how often the way between is halved, to come to as many as are asked for."""
LARGEST = 2048
"""The graph is made of so many rows at most; the others join the community that they are correlated with most."""


def regions(rows: Floats, count: int = 0) -> tuple[Whole, float]:
    """Communities of the graph whose edges are the positive correlations of rows: the label of each, −1 for constant rows, and the modularity.

    Average linkage gives beginnings of 2 to ten communities; in each, rows change theirs as long as the modularity
    rises, and the best stays. Where ``count`` are asked for, what chance would put inside counts so many times that as many stay, or as near
    to it as comes. *Error* a local optimum, where none are asked for at least as good as every cut of the tree.
    *Source* Newman & Girvan 2004; Blondel et al. 2008 for the moves; Reichardt & Bornholdt 2006 for the number asked for.
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
    if count:
        best = _so_many(graph, _cut(tree, count), count)
        most = modularity(graph, best)
    else:
        for wanted in range(1, min(MOST, len(some) - 1) + 1):
            found = _moved(graph, _cut(tree, wanted))
            if (value := modularity(graph, found)) > most + 1e-12:
                best, most = found, value
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


def _cut(tree: Floats, count: int) -> Whole:
    """So many groups of the tree, or fewer."""
    return _counted(scipy.cluster.hierarchy.fcluster(tree, count, "maxclust"))


def _counted(labels: NDArray[Any]) -> Whole:
    """Labels from 0 on, none left out."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _so_many(graph: Floats, labels: Whole, count: int) -> Whole:
    """As many communities as are asked for, or as near to it as halving comes: the more chance counts, the more communities stay."""
    low, high = FEWEST, MANIEST
    best = np.zeros_like(labels)
    for _ in range(HALVINGS):
        chance = math.sqrt(low * high)
        found = _moved(graph, labels, chance)
        many = int(found.max()) + 1
        if abs(many - count) < abs(int(best.max()) + 1 - count):
            best = found
        if many == count:
            break
        low, high = (chance, high) if many < count else (low, chance)
    return best


def _moved(graph: Floats, labels: Whole, chance: float = 1.0) -> Whole:
    """Rows one after the other move to where the modularity gains most, in which what chance would put there counts so many times."""
    labels, count = labels.copy(), int(labels.max()) + 1
    degrees, total = graph.sum(1), float(graph.sum())
    inside = graph @ np.eye(count)[labels]
    sizes = np.eye(count)[labels].T @ degrees
    for _ in range(ROUNDS):
        moves = 0
        for k in range(len(labels)):
            own = labels[k]
            gains = inside[k] - chance * degrees[k] * (sizes - degrees[k] * (np.arange(count) == own)) / total
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
    return _counted(labels)
