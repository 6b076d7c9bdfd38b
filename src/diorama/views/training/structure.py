"""The network as nested blocks, opened down to its operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from torch import nn

from ...core.colour import Limits, magnitude
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Block, Blocks, Edge, Group, Handle, Node
from ...core.numerals import counted
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection, is_point, layer_key, without_call
from ...model.attention import KERNELS
from ...model.graph import Graph
from ...model.ops import SOFTMAX
from ...model.plain_module import layer_modules
from ...model.points import Point
from ...model.repeated_blocks import FOLD, folded
from ...scene import Scene
from .. import signals
from ..units import look, responses, shown, small
from ..view import View
from ._structures import BesideStructure, around, detail

_COLOURS = {
    "update ratio": "how much of its weight one step changes (Δw/w, powers of ten)",
    "dead share": "the share of its units that are off for the whole probe set",
    "weight norm": "the size of its weights (root of the mean square)",
    "parameters": "how many weights it has (powers of ten)",
}


class StructureView(View):
    """The network's modules as blocks inside blocks, with shapes and parameter counts, and what flows between them.

    *Meaning* an arrow is a tensor, with its shape for one example. An opened block shows what it is made of, down to
    single operations; blocks that are repeated are folded. A search leaves what it finds and its neighbours. Beside another
    network both are laid out, matched from outside inwards: what stands in one alone, and what has another size there, is marked.
    *Cost* one forward pass of two examples, once for each architecture; "dead share" one pass over the probe set.
    """

    title = "Structure"
    question = "What is the network made of, and how does data flow through it?"
    family = "process"
    papers = ("Wongsuphasawat et al. 2018, TensorFlow graph visualizer", "van Ham & Perer 2009")
    rows = ("C5", "C6", "C7")
    follows = ("example",)
    input = True

    open: str = knob("", "The blocks that are open, separated by commas; 'all' opens every one.")
    search: str = knob("", "A layer, a unit (conv2/7) or a part of a name: shows it with its neighbourhood.", main=True)
    hops: int = knob(1, "How far from what was found, in arrows.", low=1, high=8)
    maps: int = knob(0, "So many small maps in each closed layer: what it makes of the current input.", low=0, high=32, main=True)
    colour: str = knob("none", "Colour the blocks by a signal.", choices=("none", *_COLOURS), main=True)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture."""
        whole: Graph = scene.keep("folded", lambda: folded(scene.graph))
        opened = whole.named(self.open)
        found: set[str] = set()
        if self.search:
            found = self._found(scene, scene.graph)
            opened |= {parent for name in found for parent in _parents(whole, name)}
        beside = BesideStructure.of(scene) if scene.others else None
        if beside is not None:
            opened |= beside.opened(self.open)
        graph = whole.view(opened)
        if found:
            graph = around(graph, found, self.hops)
        values = self._values(scene, whole) if self.colour != "none" else {}
        limits = magnitude(np.array([v for v in values.values() if v is not None] or [0.0])) if values else None
        if values and self.colour in ("update ratio", "parameters"):
            told = [value for value in values.values() if np.isfinite(value)]
            limits = magnitude(np.array(told or [0.0]), min(told, default=0.0))
        mark = self._blocks(scene, selection, graph, whole, opened, values, limits, found, beside)
        folds = [node for node in graph.nodes if node.id.startswith(FOLD)]
        modules = sum(not node.is_op for node in graph.nodes if node.key) + len(folds)
        caption = f"{_several(modules, 'block')}. "
        if not modules:
            caption = f"{_several(sum(node.is_op for node in graph.nodes), 'operation')}, in the model itself. "
        caption += "Blocks that are repeated are folded into one. " if folds else ""
        if found:
            caption = f"What {self.search!r} finds, and what lies {self.hops} arrow{'s' * (self.hops > 1)} away. "
        if values:
            caption += f"Colour is {_COLOURS[self.colour]}. "
        body: Node = mark
        if beside is not None:
            caption += beside.said
            if beside.differs:
                there = beside.drawn(opened, found, self.hops)
                body = Group(children=(msgspec.structs.replace(mark, title=beside.names[0]), there), direction="row")
        yield self.picture(scene, selection, "Structure", body, caption.strip(), note=beside.note if beside is not None else "",
            hint="Click a block to choose it, open it to see what it is made of." if modules else "Click an operation to choose it.",
        )

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
        self, scene: Scene, selection: Selection, graph: Graph, whole: Graph, opened: set[str], values: dict[str, float],
        limits: Limits | None, found: set[str], beside: BesideStructure | None,
    ) -> Blocks:
        attends = scene.keep("attends", lambda: _attends(scene))
        pictured = self._maps(scene, selection, graph) if self.maps else {}
        holders = {node.parent for node in whole.nodes if node.parent}
        here = {node.id for node in graph.nodes}
        blocks = tuple(
            Block(
                id=node.id, label=node.label, parent=node.parent if node.parent in here else "", kind=node.kind,
                detail=detail(node), key=node.key, value=values.get(node.id), expandable=node.id in holders,
                open=node.id in opened, notes=(*(("found",) if node.id in found else ()), *attends.get(node.id, ())),
                warning=beside.warning(node, 0) if beside is not None else "", **pictured.get(node.id, {}),
            )
            for node in graph.nodes
        )
        edges = tuple(Edge(source=s, target=t, label=label) for s, t, label in graph.edges if s in here and t in here)
        handle = Handle(knob="open", kind="type", value=",".join(sorted(opened & here)))
        return Blocks(
            blocks=blocks, edges=edges, limits=limits, handle=handle, value_title=self.colour if values else ""
        )

    def _maps(self, scene: Scene, selection: Selection, graph: Graph) -> dict[str, dict[str, Any]]:
        """What each layer that is seen closed makes of the current input, as small maps."""
        parents = {node.parent for node in graph.nodes}
        seen = {node.id for node in graph.nodes if node.id not in parents}
        layers = {
            layer_key(layer.path): shown(scene, layer) for layer in scene.layers
            if layer.call == 1 and layer.each and layer.shape and layer_key(layer.path) in seen
        }
        values = look(scene, list(layers.values()), scene.current(selection).x)
        found = {}
        for name, one in layers.items():
            images = small(values[one.name][0], self.maps)
            found[name] = {"maps": images, "maps_limits": one.limits(images)}
        return found

    def _values(self, scene: Scene, whole: Graph) -> dict[str, float]:
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
        parents = {node.id: node.parent for node in whole.nodes}
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
        weight = scene.parameters().get(layer.weight)
        return float(np.sqrt(np.mean(np.square(weight, dtype=np.float64)))) if weight is not None and weight.size else None


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _headed(heads: int) -> str:
    return f"attention, {counted(heads, 'heads')}"


def _attends(scene: Scene) -> dict[str, tuple[str, ...]]:
    """What takes part in an attention, however it is written, by block."""
    said: dict[str, tuple[str, ...]] = {}
    ran = [node for node in scene.graph.nodes if node.kind in (*SOFTMAX, *KERNELS)]
    modules = layer_modules(scene.model) if ran else {}
    holders = {layer_key(path): module for path, module in modules.items() if isinstance(module, nn.MultiheadAttention)}
    if all(node.kind == KERNELS[0] and node.parent in holders for node in ran):
        # Torch's own layers alone, or none: they say how many heads they have, and looking for others would take two passes.
        for node in ran:
            said |= {node.parent: (_headed(holders[node.parent].num_heads),), node.id: ("attention",)}
        return said
    for site in scene.network.attention:
        point = scene.layers[f"pattern:{site.label}"]
        said.setdefault(layer_key(without_call(site.label)), (_headed(point.units),))
        parts = {site.kernel: "attention", site.scores: "scores" if site.pooled else "queries × keys",
                 site.softmax: "pattern", site.out: "pattern × values"}
        said |= {str(Key("op", op)): (word,) for op, word in parts.items() if op}
    return said


def _parents(graph: Graph, name: str) -> Iterator[str]:
    parents = {node.id: node.parent for node in graph.nodes}
    while parents.get(name):
        name = parents[name]
        yield name
