"""The network as nested blocks, opened down to its operations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.colour import Limits, magnitude
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Block, Blocks, Edge, Handle
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection, is_point, layer_key, without_call
from ...model.graph import Graph, GraphNode
from ...model.points import Point
from ...scene import Scene
from .. import signals
from ..units import responses, shown
from ..view import View

_COLOURS = {
    "update ratio": "how much of its weight one step changes (Δw/w, powers of ten)",
    "dead share": "the share of its units that are off for the whole probe set",
    "weight norm": "the size of its weights (root of the mean square)",
    "parameters": "how many weights it has (powers of ten)",
}


class StructureView(View):
    """The network's modules as blocks inside blocks, with shapes and parameter counts, and what flows between them.

    *Meaning* an arrow is a tensor, with its shape for one example. An opened block shows what it is made of, down to
    single operations. A search leaves what it finds and its neighbours.
    *Cost* one forward pass of two examples, once for each architecture; "dead share" one pass over the probe set.
    """

    title = "Structure"
    question = "What is the network made of, and how does data flow through it?"
    family = "process"
    papers = ("Wongsuphasawat et al. 2018, TensorFlow graph visualizer", "van Ham & Perer 2009")
    rows = ("C5", "C6", "C7")
    follows = ()

    open: str = knob("", "The blocks that are open, separated by commas; 'all' opens every one.")
    search: str = knob("", "A layer, a unit (conv2/7) or a part of a name: shows it with its neighbourhood.", main=True)
    hops: int = knob(1, "How far from what was found, in arrows.", low=1, high=8)
    colour: str = knob("none", "Colour the blocks by a signal.", choices=("none", *_COLOURS), main=True)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture."""
        whole = scene.graph
        opened = whole.named(self.open)
        found: set[str] = set()
        if self.search:
            found = self._found(scene, whole)
            opened |= {parent for name in found for parent in _parents(whole, name)}
        graph = whole.view(opened)
        if found:
            graph = _around(graph, found, self.hops)
        values = self._values(scene) if self.colour != "none" else {}
        limits = magnitude(np.array([v for v in values.values() if v is not None] or [0.0])) if values else None
        if values and self.colour in ("update ratio", "parameters"):
            told = [value for value in values.values() if np.isfinite(value)]
            limits = magnitude(np.array(told or [0.0]), min(told, default=0.0))
        mark = self._blocks(graph, whole, opened, values, limits, found, _attends(scene))
        modules = sum(not node.is_op for node in graph.nodes if node.key)
        caption = f"{modules} blocks; click one to choose it, open it to see what it is made of. "
        if found:
            caption = f"What {self.search!r} finds, and what lies {self.hops} arrow{'s' * (self.hops > 1)} away. "
        if values:
            caption += f"Colour is {_COLOURS[self.colour]}."
        yield self.picture(scene, selection, "Structure", mark, caption.strip())

    def _found(self, scene: Scene, whole: Graph) -> set[str]:
        text = self.search.strip()
        name = text
        if is_point(text) and scene.layers.has(text.partition("/")[0]):
            point = scene.layers[text.partition("/")[0]]
            if isinstance(point, Point):
                # A part of an attention, or a residual sum, stands where it is made.
                return {str(Key("op", point.op))}
        if "/" in text or text.startswith(("unit:", "layer:")):
            key = Key.parse(text if ":" in text else f"unit:{text}")
            name = key.name
        exact = [node.id for node in whole.nodes if node.key and Key.parse(node.key).name == name]
        found = exact or [node.id for node in whole.find(name)]
        if not found:
            raise NotApplicable(
                f"nothing in the network is called {text!r}; try a layer's name or a kind such as 'conv'"
            )
        return set(found[:12])

    def _blocks(
        self,
        graph: Graph,
        whole: Graph,
        opened: set[str],
        values: dict[str, float],
        limits: Limits | None,
        found: set[str],
        attends: dict[str, tuple[str, ...]],
    ) -> Blocks:
        holders = {node.parent for node in whole.nodes if node.parent}
        here = {node.id for node in graph.nodes}
        blocks = tuple(
            Block(
                id=node.id, label=node.label, parent=node.parent if node.parent in here else "", kind=node.kind,
                detail=_detail(node), key=node.key, value=values.get(node.id), expandable=node.id in holders,
                open=node.id in opened, notes=(*(("found",) if node.id in found else ()), *attends.get(node.id, ())),
            )
            for node in graph.nodes
        )
        edges = tuple(Edge(source=s, target=t, label=label) for s, t, label in graph.edges if s in here and t in here)
        handle = Handle(knob="open", kind="type", value=",".join(sorted(opened & here)))
        return Blocks(
            blocks=blocks, edges=edges, limits=limits, handle=handle, value_title=self.colour if values else ""
        )

    def _values(self, scene: Scene) -> dict[str, float]:
        """The signal of each module; what contains modules takes their mean (parameters: their sum)."""
        own: dict[str, float] = {}
        for layer in scene.layers.leaves:
            value = self._value(scene, layer.name)
            if value is not None:
                own[layer_key(layer.path)] = value
        if not own:
            raise NotApplicable(
                f"no layer has a {self.colour} here" + ("" if scene.run else "; it is recorded in a run")
            )
        parents = {node.id: node.parent for node in scene.graph.nodes}
        inside: dict[str, list[float]] = {}
        for name, value in own.items():
            while name:
                inside.setdefault(name, []).append(value)
                name = parents.get(name, "")
        return {name: float(np.mean(several)) for name, several in inside.items()}

    def _value(self, scene: Scene, name: str) -> float | None:
        layer = scene.layers[name]
        if self.colour == "dead share":
            one = shown(scene, layer)
            return float(responses(scene, [one])[name].dead(one.rectified).float().mean()) if one.rectified else None
        if layer.weight is None:
            return None
        if self.colour == "update ratio":
            ratio = signals.latest(scene, signals.ratio_name(layer))
            return float(np.log10(max(ratio, 1e-12))) if ratio is not None else None
        if self.colour == "parameters":
            return float(np.log10(max(1, layer.parameters)))
        return float(np.sqrt(np.mean(np.square(scene.parameters()[layer.weight], dtype=np.float64))))


def _detail(node: GraphNode) -> str:
    parts = [" × ".join(map(str, node.shape))] if node.shape else []
    parts += [f"{node.parameters:,} weights"] if node.parameters else []
    return " · ".join(parts)


def _attends(scene: Scene) -> dict[str, tuple[str, ...]]:
    """What takes part in an attention, however it is written, by block."""
    said: dict[str, tuple[str, ...]] = {}
    for site in scene.network.attention:
        point = scene.layers[f"pattern:{site.label}"]
        heads = f"{point.units} head{'s' * (point.units > 1)}"
        said.setdefault(layer_key(without_call(site.label)), (f"attention, {heads}",))
        parts = {site.kernel: "attention", site.scores: "queries × keys", site.softmax: "pattern", site.out: "pattern × values"}
        said |= {str(Key("op", op)): (word,) for op, word in parts.items() if op}
    return said


def _parents(graph: Graph, name: str) -> Iterator[str]:
    parents = {node.id: node.parent for node in graph.nodes}
    while parents.get(name):
        name = parents[name]
        yield name


def _around(graph: Graph, found: set[str], hops: int) -> Graph:
    """The found nodes that can be seen, with everything some arrows away."""
    here = {node.id for node in graph.nodes}
    parts = [graph.near(name, hops) for name in found if name in here]
    names = {node.id for part in parts for node in part.nodes}
    edges = {edge for part in parts for edge in part.edges}
    nodes = tuple(node for node in graph.nodes if node.id in names)
    return Graph(nodes, tuple(edge for edge in graph.edges if edge in edges))
