"""Two structures laid beside one another: which node is which, and what differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Sequence
from typing import Literal

import numpy as np

from .graph import Graph, GraphNode
from .repeated_blocks import signatures

State = Literal["same", "changed", "alone"]
_LARGEST = 250_000
"""Of so many pairs of siblings each is looked at; of more, those of one name are matched, as far as they stand in order."""


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Which node of one graph is which of another, by id, and the state of each node of both.

    *Meaning* same: alike in kind, shape, weights and all inside; changed: matched, and not the same; alone: only there.
    """

    pairs: dict[str, str]
    states: tuple[dict[str, State], dict[str, State]]
    own: frozenset[str]
    """Changed nodes of the first whose own kind, shape or, where no modules are inside, weights differ."""

    inmost: tuple[frozenset[str], frozenset[str]]
    """Of both graphs the nodes with nothing inside."""

    def count(self, state: State, side: int = 0) -> int:
        """So many of the nodes with nothing inside are that."""
        return sum(self.states[side][name] == state for name in self.inmost[side])


def aligned(one: Graph, other: Graph) -> Alignment:
    """Match two structures from outside inwards: what lies in matched modules, in its order, where kind, name and content fit best.

    *Source* Needleman & Wunsch 1970, level by level.
    """
    seen: dict[Hashable, int] = {}
    marks = (signatures(one, seen), signatures(other, seen))
    inside = (_inside(one), _inside(other))
    pairs: dict[str, str] = {}
    todo = [("", "")]
    while todo:
        here, there = todo.pop()
        for a, b in _matched(inside[0].get(here, ()), inside[1].get(there, ()), marks):
            pairs[a.id] = b.id
            todo.append((a.id, b.id))
    back = {b: a for a, b in pairs.items()}
    states: tuple[dict[str, State], dict[str, State]] = (
        {node.id: _state(marks[0][node.id], marks[1].get(pairs.get(node.id, ""))) for node in one.nodes},
        {node.id: _state(marks[1][node.id], marks[0].get(back.get(node.id, ""))) for node in other.nodes},
    )
    known = {node.id: node for node in other.nodes}
    own = frozenset(
        node.id for node in one.nodes
        if states[0][node.id] == "changed" and _itself(node, inside[0]) != _itself(known[pairs[node.id]], inside[1])
    )
    inmost = [frozenset(node.id for node in graph.nodes if node.id not in held) for graph, held in zip((one, other), inside, strict=True)]
    return Alignment(pairs, states, own, (inmost[0], inmost[1]))


def _itself(node: GraphNode, inside: dict[str, list[GraphNode]]) -> tuple[object, ...]:
    holds = any(not one.is_op for one in inside.get(node.id, ()))
    return node.kind, node.shape, None if holds else node.parameters


def _state(mark: int, match: int | None) -> State:
    return "alone" if match is None else "same" if match == mark else "changed"


def _inside(graph: Graph) -> dict[str, list[GraphNode]]:
    found: dict[str, list[GraphNode]] = {}
    for node in graph.nodes:
        found.setdefault(node.parent, []).append(node)
    return found


def _matched(
    rows: Sequence[GraphNode], columns: Sequence[GraphNode], marks: tuple[dict[str, int], dict[str, int]]
) -> Iterator[tuple[GraphNode, GraphNode]]:
    """Pairs of siblings in order, so that they fit best in all."""
    begin = 0
    while begin < min(len(rows), len(columns)) and _fit(rows[begin], columns[begin], marks) == _BEST:
        yield rows[begin], columns[begin]
        begin += 1
    rows, columns = rows[begin:], columns[begin:]
    end = 0
    while end < min(len(rows), len(columns)) and _fit(rows[-1 - end], columns[-1 - end], marks) == _BEST:
        yield rows[-1 - end], columns[-1 - end]
        end += 1
    rows, columns = rows[: len(rows) - end], columns[: len(columns) - end]
    if not rows or not columns:
        return
    if len(rows) * len(columns) > _LARGEST:
        yield from _by_name(rows, columns)
        return
    fits = np.array([[_fit(a, b, marks) for b in columns] for a in rows], np.float64)
    best = np.zeros((len(rows) + 1, len(columns) + 1))
    for i in range(len(rows)):
        for j in range(len(columns)):
            best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], best[i, j] + fits[i, j])
    i, j = len(rows), len(columns)
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            yield rows[i], columns[j]


_BEST = 8.0


def _fit(a: GraphNode, b: GraphNode, marks: tuple[dict[str, int], dict[str, int]]) -> float:
    """How well two siblings fit: 0 where they are not of a kind."""
    if a.kind != b.kind:
        # Another class under one name is the same place, changed; another op is another op.
        return 1.0 if a.label == b.label and not a.is_op and not b.is_op and bool(a.key) == bool(b.key) else 0.0
    return 2.0 + 4.0 * (marks[0][a.id] == marks[1][b.id]) + 1.0 * (a.label == b.label) + 1.0 * (a.shape == b.shape)


def _by_name(rows: Sequence[GraphNode], columns: Sequence[GraphNode]) -> Iterator[tuple[GraphNode, GraphNode]]:
    places = {node.label: k for k, node in enumerate(columns)}
    last = -1
    for node in rows:
        place = places.get(node.label, -1)
        if place > last and columns[place].is_op == node.is_op:
            last = place
            yield node, columns[place]
