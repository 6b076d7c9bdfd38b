"""The structure of a second network beside that of a first, matched, with what differs."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

from ...core.errors import DioramaError
from ...core.marks import Block, Blocks, Edge, Handle
from ...model.graph import Graph, GraphNode
from ...model.repeated_blocks import folded
from ...scene import Scene
from ..run_series import other_name, this_name

if TYPE_CHECKING:
    from ...model.alignment import Alignment, State


@dataclasses.dataclass(frozen=True)
class BesideStructure:
    """Another network's structure, and which of its nodes is which."""

    names: tuple[str, str]
    graphs: tuple[Graph, Graph]
    """As they are drawn: with repeats folded."""
    match: Alignment | None
    note: str = ""

    @classmethod
    def of(cls, scene: Scene) -> BesideStructure:
        """The first of the networks to compare with."""
        from ...model.alignment import aligned

        other = scene.others[0]
        name = other_name(scene, other)
        more = f"Of {len(scene.others)} others the first is laid out beside it." if len(scene.others) > 1 else ""
        try:
            plain = (other if other._examples is not None else other.on(scene.examples)).graph
        except (DioramaError, RuntimeError) as error:
            text = " ".join(str(error).split()).rstrip(".")
            return cls((this_name(scene, other), name), (scene.graph, Graph((), ())), None, f"{name} cannot be looked into ({text[:140]})")
        return cls((this_name(scene, other), name), (folded(scene.graph), folded(plain)), aligned(scene.graph, plain), more)

    @property
    def differs(self) -> bool:
        """Whether there is anything to be seen beside."""
        return self.match is not None and any(state != "same" for side in self.match.states for state in side.values())

    @property
    def said(self) -> str:
        """How much differs, in a sentence."""
        if self.match is None:
            return ""
        if not self.differs:
            return f"{self.names[1]} is built the same. "
        same, changed, here, there = self.match.count("same"), self.match.count("changed"), self.match.count("alone"), self.match.count("alone", 1)
        total = same + changed + here
        return (
            f"Of its {total:,} innermost nodes {same:,} are the same in {self.names[1]}, {changed:,} are changed, "
            f"{here:,} {'stands' if here == 1 else 'stand'} here alone; "
            f"{there:,} {'stands' if there == 1 else 'stand'} there alone. "
        )

    def opened(self, text: str) -> set[str]:
        """What is open in the first because its match is open in the second."""
        back = {there: here for here, there in self.match.pairs.items()} if self.match is not None else {}
        return {back[name] for name in self.graphs[1].named(text) if name in back}

    def drawn(self, opened: set[str], found: set[str], hops: int) -> Blocks:
        """The second network: open where the first is, and with the keys of what its nodes are there."""
        assert self.match is not None
        graph, pairs = self.graphs[1], self.match.pairs
        back = {there: here for here, there in pairs.items()}
        nodes = {node.id: node for node in self.graphs[0].nodes}
        folds = {node.id for node in graph.nodes if node.id not in self.match.states[1]}
        open_ = {pairs[name] for name in opened if name in pairs} | (opened & folds)
        found = {pairs[name] for name in found if name in pairs}
        parents = {node.id: node.parent for node in graph.nodes}
        for name in tuple(found):
            while name := parents[name]:
                open_.add(name)
        view = graph.view(open_)
        view = around(view, found, hops) if found else view
        here, holders = {node.id for node in view.nodes}, {node.parent for node in graph.nodes}
        blocks = tuple(
            Block(
                id=node.id, label=node.label, parent=node.parent if node.parent in here else "", kind=node.kind, detail=detail(node),
                key=nodes[back[node.id]].key if node.id in back else "", expandable=node.id in holders, open=node.id in open_,
                notes=("found",) if node.id in found else (), warning=self.warning(node, 1),
            )
            for node in view.nodes
        )
        edges = tuple(Edge(source=s, target=t, label=label) for s, t, label in view.edges if s in here and t in here)
        return Blocks(
            title=self.names[1], blocks=blocks, edges=edges, handle=Handle(knob="open", kind="type", value=",".join(sorted(open_ & here))),
        )

    def warning(self, node: GraphNode, side: int) -> str:
        """What is said of a node that differs; nothing of one that is the same."""
        if self.match is None:
            return ""
        state = self.match.states[side].get(node.id)
        if state == "same":
            return ""
        if state == "alone":
            return f"only in {self.names[side]}"
        inside = self._inside(node, side)
        if state is None or node.id in self._modular[side]:
            return inside
        pairs = self.match.pairs if side == 0 else {there: here for here, there in self.match.pairs.items()}
        match = next(one for one in self.graphs[1 - side].nodes if one.id == pairs[node.id])
        said = [
            f"{match.kind}" if match.kind != node.kind else "",
            " × ".join(map(str, match.shape)) if match.shape != node.shape else "",
            f"{match.parameters:,} weights" if match.parameters != node.parameters else "",
        ]
        return f"in {self.names[1 - side]}: {' · '.join(filter(None, said))}" if any(said) else inside

    @functools.cached_property
    def _counts(self) -> tuple[dict[tuple[str, State], int], dict[tuple[str, State], int]]:
        """How many innermost nodes in each module and fold differ, on either side."""
        assert self.match is not None
        found: tuple[dict[tuple[str, State], int], dict[tuple[str, State], int]] = ({}, {})
        for side, counts in enumerate(found):
            parents = {one.id: one.parent for one in self.graphs[side].nodes}
            for name in self.match.inmost[side]:
                state, at = self.match.states[side][name], parents.get(name, "")
                while at and state != "same":
                    counts[at, state] = counts.get((at, state), 0) + 1
                    at = parents.get(at, "")
        return found

    @functools.cached_property
    def _modular(self) -> tuple[set[str], set[str]]:
        """The nodes of either side that hold modules, and not ops alone."""
        own, there = ({node.parent for node in graph.nodes if not node.is_op} for graph in self.graphs)
        return own, there

    def _inside(self, node: GraphNode, side: int) -> str:
        changed, alone = (self._counts[side].get((node.id, state), 0) for state in ("changed", "alone"))
        said = [f"{changed:,} changed" if changed else "", f"{alone:,} only here" if alone else ""]
        return f"inside {', '.join(filter(None, said))}" if any(said) else ""


def detail(node: GraphNode) -> str:
    """A node's shape for one example, and how many weights it has."""
    parts = [" × ".join(map(str, node.shape))] if node.shape else []
    parts += [f"{node.parameters:,} weights"] if node.parameters else []
    return " · ".join(parts)


def around(graph: Graph, found: set[str], hops: int) -> Graph:
    """The found nodes that can be seen, with everything some arrows away."""
    here = {node.id for node in graph.nodes}
    parts = [graph.near(name, hops) for name in found if name in here]
    names = {node.id for part in parts for node in part.nodes}
    edges = {edge for part in parts for edge in part.edges}
    nodes = tuple(node for node in graph.nodes if node.id in names)
    return Graph(nodes, tuple(edge for edge in graph.edges if edge in edges))
