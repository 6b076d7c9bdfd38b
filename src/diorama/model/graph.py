"""The structure of a model: modules that contain ops, and the tensors that flow between them."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import not_found
from ..core.selection import Key, layer_key
from ..data import nesting
from ..data.nesting import Nested
from .axes import first_tensor, tensors_given, tensors_in
from .batch_size import fitting
from .mode import OpMode, OpNames, Trail
from .ops import ALIASES, NOTHING_DONE, named
from .plain_module import fed, named_modules, unwrap, weights_in
from .preservation import Preservation

Edge = tuple[str, str, str]
_MULTIPLIES = named("weights")
_ADDS = named("sum")


@dataclasses.dataclass(frozen=True)
class GraphNode:
    """A module's call or an op; ``input`` and ``output`` are nodes too."""

    id: str
    label: str
    kind: str
    """The module's class or the op's name."""
    parent: str
    """The id of the module it runs in; empty at the top."""
    shape: tuple[int, ...]
    """Of what it returns for one example."""
    parameters: int
    key: str
    """What it puts into the selection when clicked; empty for inputs and outputs."""

    @property
    def is_op(self) -> bool:
        """An op rather than a module."""
        return self.id.startswith("op:")


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nested nodes in the order in which they began, and edges ``(source, target, shape)`` between innermost nodes."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes: asked of each graph that is kept, and to look at every node takes longer than to lay it out."""
        return 1024 * len(self.nodes) + 256 * len(self.edges)

    def __getitem__(self, node: str) -> GraphNode:
        for candidate in self.nodes:
            if candidate.id == node:
                return candidate
        raise not_found("node", node, (candidate.id for candidate in self.nodes))

    def children(self, node: str = "") -> tuple[GraphNode, ...]:
        """The nodes directly inside a module; at the top, those of the model itself."""
        return tuple(candidate for candidate in self.nodes if candidate.parent == node)

    def named(self, text: str) -> set[str]:
        """The nodes that a text names: keys or bare names, separated by commas, or ``all`` modules.

        A name that is none of this model's is passed over, so that a choice outlives a change of the model.
        """
        if text.strip() == "all":
            return {node.id for node in self.nodes if not node.is_op}
        names = {part.strip() for part in text.split(",") if part.strip()}
        known = {node.id for node in self.nodes}
        return {name if name in known else layer_key(name) for name in names} & known

    def view(self, open: Collection[str]) -> Graph:  # noqa: A002 - open is what a module is
        """The graph with every module closed that is not in ``open``; edges end at what can be seen."""
        known = {node.id: node for node in self.nodes}
        seen = {node.id: self._shown(node, known, open) for node in self.nodes}
        nodes = tuple(node for node in self.nodes if seen[node.id] == node.id)
        edges: dict[tuple[str, str], list[str]] = {}
        for source, target, label in self.edges:
            ends = (seen[source], seen[target])
            if ends[0] != ends[1]:
                labels = edges.setdefault(ends, [])
                labels += [label] if label not in labels else []
        return Graph(nodes, tuple((*ends, ", ".join(labels)) for ends, labels in edges.items()))

    @staticmethod
    def _shown(node: GraphNode, known: Mapping[str, GraphNode], open_: Collection[str]) -> str:
        """The outermost closed module around a node, or the node itself."""
        shown = node.id
        parent = node.parent
        while parent:
            if parent not in open_:
                shown = parent
            parent = known[parent].parent
        return shown

    def shortcuts(self) -> set[str]:
        """The paths of modules with weights that stand on the shorter way into a sum: a residual block's projection beside its layers.

        *Meaning* of two ways that part and meet again in a sum, both with weights, the one with fewer.
        """
        place = {node.id: number for number, node in enumerate(self.nodes)}
        sources: dict[str, list[str]] = {}
        for source, target, _ in self.edges:
            sources.setdefault(target, []).append(source)
        weighted = {node.id for node in self.nodes if node.parameters and node.kind in _MULTIPLIES}
        behind: dict[str, int] = {}  # all that leads to a node, itself included, as bits
        mine = sum(1 << place[name] for name in weighted)
        found: set[str] = set()
        for node in self.nodes:
            before = sources.get(node.id, [])
            ways = [behind.get(source, 1 << place[source]) for source in before]
            behind[node.id] = functools.reduce(operator.or_, ways, 1 << place[node.id])
            if node.kind.removesuffix("_") in _ADDS and len(ways) == 2 and ways[0] & ways[1]:
                own = [way & ~other & mine for way, other in (ways, ways[::-1])]
                less = min(own, key=int.bit_count)
                if 0 < less.bit_count() < max(own, key=int.bit_count).bit_count():
                    found |= {name for name in weighted if less >> place[name] & 1}
        return {node.parent.removeprefix("layer:") for node in self.nodes if node.id in found}

    def reaches(self, source: str, target: str) -> bool:
        """Whether anything that a module or op makes comes to another: False for those of two branches, True where one is not in the graph."""
        known = {node.id for node in self.nodes}
        if source == target or source not in known or target not in known:
            return True
        inside = self._inside(source)
        return bool(self._reached(inside) & (self._inside(target) - inside))

    def between(self, source: str, target: str) -> tuple[GraphNode, ...]:
        """The ops on the ways from a module or op to another, in their order, with those inside the other; none where one is not in the graph."""
        known = {node.id for node in self.nodes}
        if source not in known or target not in known:
            return ()
        inside = self._inside(source)
        on_way = self._reached(inside) & self._reached(self._inside(target), back=True) - inside
        return tuple(node for node in self.nodes if node.id in on_way and node.is_op)

    def leads(self, source: str, target: str) -> bool:
        """Whether something of a module or op comes to another; so too where one is not in the graph, and nothing is known."""
        known = {node.id for node in self.nodes}
        if source not in known or target not in known:
            return True
        return bool((self._reached(inside := self._inside(source)) - inside) & self._inside(target))

    def _inside(self, name: str) -> set[str]:
        """A node and all that lies in it."""
        found = {name}
        for node in self.nodes:
            if node.parent in found:
                found.add(node.id)
        return found

    def _reached(self, nodes: set[str], *, back: bool = False) -> set[str]:
        """Some nodes and all that comes of them, or all that leads to them."""
        reached, found = set(nodes), len(nodes) - 1
        while len(reached) > found:
            found = len(reached)
            reached |= {edge[0 if back else 1] for edge in self.edges if edge[1 if back else 0] in reached}
        return reached

    def near(self, node: str, hops: int = 1) -> Graph:
        """A node, what is inside it, and all that is at most so many edges away, with the modules around them.

        *Raises* NotFound when the node is not in the graph.
        """
        known = {candidate.id: candidate for candidate in self.nodes}
        reached = {self[node].id}
        for candidate in self.nodes:
            if candidate.parent in reached:
                reached.add(candidate.id)
        for _ in range(hops):
            touching = [(source, target) for source, target, _ in self.edges if source in reached or target in reached]
            reached |= {end for ends in touching for end in ends}
        around = set(reached)
        for name in reached:
            while (parent := known[name].parent) and parent not in around:
                around.add(parent)
                name = parent
        nodes = tuple(candidate for candidate in self.nodes if candidate.id in around)
        return Graph(nodes, tuple(edge for edge in self.edges if edge[0] in reached and edge[1] in reached))

    def find(self, text: str) -> tuple[GraphNode, ...]:
        """The nodes whose name or kind contains a text, in any case; whole names first."""
        wanted = text.lower()
        found = [node for node in self.nodes if wanted in node.id.lower() or wanted in node.kind.lower()]
        return tuple(sorted(found, key=lambda node: node.id.partition(":")[2].lower() != wanted))


def graph(model: nn.Module, x: Nested) -> Graph:
    """Find a model's structure by running it once on at most two of the examples.

    *Cost* one forward pass on two examples.
    *Raises* NotApplicable for a model that cannot be looked into.
    """
    plain = unwrap(model)
    return fitting(plain, fed(plain, nesting.select(x, slice(0, 2))), functools.partial(_found, plain))


def _found(plain: nn.Module, few: Nested) -> Graph:
    look = GraphLook(plain, few)
    with Preservation(plain), look, torch.no_grad(), OpMode().on_op(look.ran):
        output = nesting.call(plain, few)
    return look.graph(output)


class GraphLook:
    """A context in which a model runs once and shows its structure: :meth:`graph`. Whoever runs it tells of each op (:meth:`ran`).

    ``apart`` tells whether a tensor surely has its examples first. Shapes are told by two examples; with it also by any other number of
    them, of which some other axis may happen to have as many.
    """

    def __init__(self, plain: nn.Module, x: Nested, apart: Callable[[Tensor | None], bool] | None = None) -> None:
        self._draft, self._apart = _Draft(nesting.size(x)), apart
        self._trail = Trail(named_modules(plain), self._draft.opened, self._draft.closed)
        self._draft.trail, self._draft.names = self._trail, OpNames(self._trail)
        self._draft.inputs(x)

    def __enter__(self) -> GraphLook:
        self._trail.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._trail.__exit__(*error)

    def ran(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An op ran."""
        if self._apart is None or self._apart(None):
            self._draft.ran(name, func, args, kwargs, result)
        else:
            self._draft.alive.clear()  # nothing will be told, and what the pass makes is held no longer

    @property
    def told(self) -> bool:
        """Whether the pass tells the graph, as two examples would."""
        return self._apart is None or all(map(self._apart, (None, *self._draft.alive)))

    def graph(self, output: Any) -> Graph:
        """The graph of the pass that answered this."""
        self._draft.output(output)
        return Graph(tuple(self._draft.nodes.values()), tuple(self._draft.edges))


class _Draft:
    """A graph while it is found: which node made each tensor that is alive."""

    trail: Trail
    names: OpNames

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.nodes: dict[str, GraphNode] = {}
        self.edges: dict[Edge, None] = {}
        self.maker: dict[int, str] = {}
        self.alive: list[Tensor] = []  # so that no two tensors share an id

    def inputs(self, x: Nested) -> None:
        """Start with one node an input."""
        named: dict[str, Any] = {"input": x}
        if isinstance(x, dict):
            named = {f"input.{name}": part for name, part in x.items()}
        elif isinstance(x, tuple | list) and len(x) > 1:
            names: Any = x.names if isinstance(x, nesting.Positional) else range(len(x))
            named = {f"input.{name}": part for name, part in zip(names, x, strict=True)}
        for name, part in named.items():
            if first_tensor(part) is None:
                continue
            label = name.removeprefix("input.")
            self.nodes[name] = GraphNode(name, label, "input", "", self.shape(first_tensor(part)), 0, "")
            for tensor in tensors_in(part):
                self.made(tensor, name)

    def output(self, output: Any) -> None:
        """End with the node for what the model returns."""
        self.nodes["output"] = GraphNode("output", "output", "output", "", self.shape(first_tensor(output)), 0, "")
        for tensor in tensors_in(output):
            self.flow(tensor, "output")

    def shape(self, tensor: Tensor | None) -> tuple[int, ...]:
        """A tensor's shape for one example."""
        if tensor is None:
            return ()
        with torch._C.DisableTorchFunction():
            sizes = tuple(tensor.shape)
        return sizes[1:] if sizes and sizes[0] == self.examples else sizes

    def made(self, tensor: Tensor, node: str) -> None:
        """Note which node made a tensor, or last wrote into it."""
        self.maker[id(tensor)] = node
        self.alive.append(tensor)

    def flow(self, tensor: Tensor, target: str) -> None:
        """Draw an edge from what made a tensor."""
        source = self.maker.get(id(tensor))
        if source is not None and source != target:
            self.edges[(source, target, " × ".join(map(str, self.shape(tensor))))] = None

    def opened(self, name: str, module: nn.Module, given: Any) -> None:
        """A module begins: it becomes a node inside the one that runs."""
        inside = self.trail.open[:-1]
        node, parent = layer_key(name), layer_key(inside[-1]) if inside else ""
        parameters = weights_in(module)
        last = name.rpartition(".")[2]
        self.nodes[node] = GraphNode(node, last, type(module).__name__, parent, (), parameters, node)

    def closed(self, name: str, module: nn.Module, given: Any, output: Any) -> None:
        """A module ends: what it returns without an op inside it having made it was made by the module itself."""
        node = layer_key(name)
        begun = self.nodes[node]
        self.nodes[node] = GraphNode(node, begun.label, begun.kind, begun.parent, self.shape(first_tensor(output)), begun.parameters, node)
        for tensor in tensors_in(output):
            if not self._within(self.maker.get(id(tensor), ""), node):
                for source in tensors_in(given):
                    self.flow(source, node)
                self.made(tensor, node)

    def _within(self, node: str, module: str) -> bool:
        while node:
            if node == module:
                return True
            node = self.nodes[node].parent
        return False

    def ran(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An op ran: it becomes a node inside the module that called it."""
        results = [result] if type(result) is Tensor else list(tensors_in(result))
        if not results:
            return
        given = tensors_given(args, kwargs)
        same = any(tensor is source for tensor in results for source in given)
        full = self.names.next(name)
        self.names.count(name, result)
        if name in ALIASES or (name in NOTHING_DONE and same):
            maker = self.maker.get(id(given[0])) if given else None
            if maker is not None:
                self.made(results[0], maker)
            return
        here = self.trail.here
        node = str(Key("op", full))
        weights = sum(tensor.numel() for tensor in given if isinstance(tensor, nn.Parameter))
        label = full[len(here) + 1 :] if here else full
        parent = layer_key(here) if here else ""
        self.nodes[node] = GraphNode(node, label, name, parent, self.shape(results[0]), weights, node)
        for tensor in given:
            self.flow(tensor, node)
        for tensor in results:
            self.made(tensor, node)
