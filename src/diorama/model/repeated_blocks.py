"""Repeated blocks of a network's structure under one node each, so that a network of a thousand layers opens as a few blocks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence

from .graph import Graph, GraphNode

LEAST = 5
"""So many equal blocks in a row are folded."""
LONGEST = 8
"""So many blocks at most are what is repeated."""
SHOWN = 12
"""An open fold of more repeats shows folds of its parts."""
FOLD = "fold:"


def signatures(graph: Graph, seen: dict[Hashable, int] | None = None) -> dict[str, int]:
    """What each node is, whatever it is called: kind, shape, weights, and the same of all inside it. Equal nodes have one number,
    of several graphs too where they are given the same ``seen``."""
    inside: dict[str, list[str]] = {}
    for node in graph.nodes:
        inside.setdefault(node.parent, []).append(node.id)
    found: dict[str, int] = {}
    numbers: dict[Hashable, int] = {} if seen is None else seen
    known = {node.id: node for node in graph.nodes}

    def number(name: str) -> int:
        if name not in found:
            node = known[name]
            key = (node.kind, node.shape, node.parameters, tuple(number(one) for one in inside.get(name, ())))
            found[name] = numbers.setdefault(key, len(numbers))
        return found[name]

    for node in graph.nodes:
        number(node.id)
    return found


def folded(graph: Graph) -> Graph:
    """The graph with a node round each row of blocks that are repeated; a fold of very many holds folds of its parts."""
    alike = signatures(graph)
    inside: dict[str, list[GraphNode]] = {}
    for node in graph.nodes:
        inside.setdefault(node.parent, []).append(node)
    parents: dict[str, str] = {}
    before: dict[str, list[GraphNode]] = {}
    for siblings in inside.values():
        for begin, period, count in _runs([alike[node.id] for node in siblings]):
            _fold(siblings[begin : begin + period * count], period, siblings[begin].parent, parents, before)
    if not parents:
        return graph
    nodes: list[GraphNode] = []
    for node in graph.nodes:
        nodes += before.get(node.id, ())
        nodes.append(dataclasses.replace(node, parent=parents.get(node.id, node.parent)))
    return Graph(tuple(nodes), graph.edges)


def _runs(row: Sequence[Hashable]) -> list[tuple[int, int, int]]:
    """Where rows of repeats begin, how long what is repeated is, and how often: none overlap, the longest at each place."""
    found = []
    begin = 0
    while begin < len(row):
        best = (0, 0)
        for period in range(1, min(LONGEST, (len(row) - begin) // LEAST) + 1):
            end = begin + period
            while end < len(row) and row[end] == row[end - period]:
                end += 1
            count = (end - begin) // period
            if count >= LEAST and period * count > best[0] * best[1]:
                best = (period, count)
        period, count = best
        if count:
            found.append((begin, period, count))
        begin += period * count or 1
    return found


def _fold(
    members: Sequence[GraphNode], period: int, parent: str, parents: dict[str, str], before: dict[str, list[GraphNode]]
) -> None:
    """Put a node round some repeats; where these are many, nodes round parts of them inside."""
    count = len(members) // period
    first, last = members[0], members[-1]
    what = " + ".join(node.kind for node in members[:period])
    ends = first.label if period == 1 and count == 1 else f"{first.label} … {last.label}"
    fold = GraphNode(
        f"{FOLD}{first.id}…{last.id}", f"{count} × {what}", ends, parent, last.shape, sum(node.parameters for node in members), "",
    )
    before.setdefault(first.id, []).append(fold)
    if count <= SHOWN:
        parents.update({node.id: fold.id for node in members})
        return
    # Ten parts, or as many tens as it takes.
    size = 10 ** max(0, math.ceil(math.log10(count)) - 1)
    step = period * (size if size > 1 else 1)
    for begin in range(0, len(members), step):
        part = members[begin : begin + step]
        if len(part) > period:
            _fold(part, period, fold.id, parents, before)
        else:
            parents.update({node.id: fold.id for node in part})
