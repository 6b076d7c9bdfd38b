"""The network as a column of cards: how it is chosen what to look at, and its health at a glance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import msgspec
from torch import Tensor

from ...core.knobs import knob
from ...core.marks import Block, Blocks, Edge
from ...core.numerals import percent, plain
from ...core.picture import Picture, Progress
from ...core.selection import Selection, layer_key, spoken
from ...model.graph import GraphNode
from ...record import ranges
from ...scene import Scene
from .. import layer_health, signals
from ..units import ShownLayer, look, main_layers, responses, small
from ..view import View

WORDS = {
    "relu": "ReLU", "relu_": "ReLU", "relu6": "ReLU6", "gelu": "GELU", "silu": "SiLU", "elu": "ELU", "tanh": "tanh",
    "leaky_relu": "leaky ReLU", "sigmoid": "sigmoid", "softmax": "softmax", "log_softmax": "log-softmax",
    "batch_norm": "batch norm", "layer_norm": "layer norm", "group_norm": "group norm", "dropout": "dropout",
    "add": "+", "add_": "+", "__add__": "+", "__radd__": "+", "__iadd__": "+", "cat": "joined", "mul": "×",
    "max_pool2d": "max-pool", "max_pool1d": "max-pool", "avg_pool2d": "average-pool", "avg_pool1d": "average-pool",
    "adaptive_avg_pool2d": "average-pool", "adaptive_max_pool2d": "max-pool", "mean": "mean", "interpolate": "resize",
    "scaled_dot_product_attention": "attention",
}


class MapView(View):
    """The layers one below the other, each with what it makes of the current input, and how fast it changes.

    *Meaning* Δw/w is how much of a layer's weight one step changes (about 0.001 is usual); *dead* is the share of its units that answer
    nothing to a whole batch, as health and the findings tell it; where nothing was recorded, or the network is edited, to any of the
    probe set. The small curve is Δw/w over the training. A card warns where a number that was recorded of the layer lies outside the
    range of healthy trainings; the view health shows all of them.
    *Cost* one forward pass of one example; shares and warnings come in a second picture, after one pass over the probe set.
    """

    title = "Network"
    question = "What is the network made of, and how is it doing?"
    answers = True
    family = "process"
    rows = ("C5", "C11")
    follows = ("example",)
    input = True
    panel = "map"

    limit: int = knob(10, "Small maps in each card.", low=1, high=32)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """First the maps; then, where it is not known yet, the shares of units that are dead."""
        layers = main_layers(scene)
        found = look(scene, layers, scene.current(selection).x)
        known = all(_recorded(scene, one) is not None for one in layers if one.rectified) or scene.knows([one.source.name for one in layers])
        told = known and scene.run is None
        cards = self._cards(scene, layers, found, known)
        yield self._drawn(scene, selection, layers, cards, told)
        if not told:
            if not known:
                yield Progress(done=0, total=1, note="one pass over the probe set, to find units that are dead")
                cards = self._cards(scene, layers, found, True)
            ill = _ill(scene)
            cards = [msgspec.structs.replace(card, warning=card.warning or ill.get(card.label, "")) for card in cards]
            yield self._drawn(scene, selection, layers, cards, True)

    def _drawn(
        self, scene: Scene, selection: Selection, layers: list[ShownLayer], cards: list[Block], final: bool
    ) -> Picture:
        mark = Blocks(blocks=tuple(cards), edges=scene.keep("map/edges", lambda: tuple(_between(scene, layers))), layout="list")
        total = sum(math.prod(shape) for shape in scene.keep("shapes", lambda: _shapes(scene)).values())
        caption = f"{total:,} weights. Each card is a layer: what it makes of {scene.current(selection).label}."
        return self.picture(scene, selection, "Network", mark, caption, final=final)

    def _cards(self, scene: Scene, layers: list[ShownLayer], found: dict[str, Tensor], known: bool) -> list[Block]:
        """A card a layer, with the share of its units that are dead where that is ``known``."""
        dead = {one.name: _recorded(scene, one) for one in layers if one.rectified}
        if known and None in dead.values():
            seen = responses(scene, layers)
            dead = {one.name: seen[one.name].dead(True).float().mean().item() for one in layers if one.rectified}
        return [self._card(scene, one, found[one.name][0], dead.get(one.name)) for one in layers]

    def _card(self, scene: Scene, one: ShownLayer, values: Tensor, dead: float | None) -> Block:
        layer = one.layer
        images = small(values, self.limit)
        ratio = signals.latest(scene, signals.ratio_name(layer))
        notes = [_ways(scene, one), plain(f"Δw/w {ratio:.1e}") if ratio is not None else ""]
        notes.append(one.sliced() and f"maps: {one.sliced()}")
        notes.append(f"{percent(dead, 3)} dead" if dead is not None else "")
        return Block(
            id=layer_key(one.name), label=one.name or spoken(""), kind=layer.kind, key=layer_key(one.name),
            detail=f"{layer.kind} · " * one.name.replace(".", "").isdigit() + " × ".join(map(str, layer.shape)),
            notes=tuple(filter(None, notes)), maps=images,
            maps_limits=one.limits(images), spark=signals.spark(scene, signals.ratio_name(layer)),
            warning=_warning(values, dead),
        )


def _recorded(scene: Scene, one: ShownLayer) -> float | None:
    """The share of dead units that the record tells at this step; an edited network is not the recorded one."""
    return None if scene.edits or scene.moved is not None else signals.latest(scene, signals.dead_name(one.source.name))


def _shapes(scene: Scene) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in scene.model.named_parameters()}


def _ways(scene: Scene, one: ShownLayer) -> str:
    """What goes in and comes out: "12→24, 3×3"."""
    shapes: dict[str, tuple[int, ...]] = scene.keep("shapes", lambda: _shapes(scene))
    weight = shapes.get(one.layer.weight or "", ())
    if len(weight) < 2:
        return ""
    size = "×".join(map(str, weight[2:]))
    turned = "Transpose" in one.layer.kind or one.layer.kind.startswith("Embedding")
    inputs, outputs = (weight[0], weight[1]) if turned else (weight[1], one.layer.units)
    return f"{inputs}→{outputs}" + (f", {size}" if size else "")


def _warning(values: Tensor, dead: float | None) -> str:
    if not bool(values.isfinite().all()):
        return "not finite"
    return "almost all units are dead" if dead is not None and dead > ranges.DEAD.high else ""


def _ill(scene: Scene) -> dict[str, str]:
    """By layer: the worst number that was recorded of it, where it lies outside the healthy ranges."""
    if scene.run is None or scene.step is None:
        return {}
    health = layer_health.looked_at(scene.run, scene.step)
    if health is None:
        return {}
    found: dict[str, str] = {}
    for row in sorted(range(len(health.layers)), key=health.order):
        if (of := layer_health.key_of(health.layers[row])) not in found and (wrong := health.wrong(row)):
            name, cell = wrong[0]
            found[of] = f"{name} {layer_health.SIDES[cell.outside]} since step {cell.since}"
    bad = scene.run.meta.get("first_bad")
    if isinstance(bad, dict) and bad.get("layer") and isinstance(bad.get("step"), int) and bad["step"] <= scene.step:
        found[str(bad["layer"])] = f"the first NaN or infinite number began here, at step {bad['step']}"
    return found


def _between(scene: Scene, layers: list[ShownLayer]) -> Iterator[Edge]:
    """What happens between one card and the next, found in the graph: "ReLU · max-pool 2".

    Where a card does not go on from the one above it alone, it says what it reads: "from question", "from shape and asks · joined".
    """
    cards = _Flow()
    for one in layers:
        again = "" if one.layer.call == 1 else f"#{one.layer.call}"  # each call of a module reads something of its own
        cards.add(layer_key(one.layer.path) + again, [layer_key(one.name)])
    names = {layer_key(one.name): one.name for one in layers}
    known = {node.id: node for node in scene.graph.nodes}
    parents = {node.id: node.parent for node in scene.graph.nodes}
    incoming: dict[str, list[str]] = {}
    for source, target, _ in scene.graph.edges:
        incoming.setdefault(target, []).append(source)
    roots, words, reads, ancestors = _Flow(), _Flow(), _Flow(), _Flow()
    for node in scene.graph.nodes:
        path = _path_of(node.id, parents, cards)
        if node.kind == "input" and not path:
            roots[node.id] = [node.id]
            names[node.id] = node.label if node.label != "input" else "the input"
        for source in incoming.get(node.id, ()):
            before = _path_of(source, parents, cards)
            if before != path or not path:
                (reads if path else roots).add(path or node.id, _levels(cards[before])[-1] if before else roots[source])
                words.add(path or node.id, [] if before else words[source])
        if not path and node.is_op and (word := _word(node, [known[source] for source in incoming.get(node.id, ())])):
            words.add(node.id, [word])
    for path, own in cards.items():
        for below, level in itertools.pairwise([reads[path], *_levels(own)]):
            for card in level:
                reads[card], words[card] = below, words[path] if below is reads[path] else []
    order = [layer_key(one.name) for one in layers]
    for card in order:
        ancestors.add(card, [each for source in reads[card] for each in (source, *ancestors[source])])
    for before, card in itertools.pairwise(order):
        apart = [source for source in reads[card] if source != before and source not in ancestors[before]]
        beyond = {each for source in reads[card] for each in ancestors[source]}  # what a sum or a mask takes from further back
        told = [name for source in reads[card] if source not in beyond and (name := names.get(source))]
        label = [f"from {', '.join(told[:-1])}{' and ' if told[1:] else ''}{told[-1]}"] if told and (apart or before not in reads[card]) else []
        if label or words[card]:
            yield Edge(source=before, target=card, label=" · ".join([*label, *words[card]]))


def _levels(cards: list[str]) -> list[list[str]]:
    """The cards of a recurrent layer, its two directions side by side, one above the other; of any other layer its own."""
    return [list(level) for _, level in itertools.groupby(cards, lambda card: card.removesuffix(".reverse"))]


class _Flow(dict[str, list[str]]):
    """Lists by name, each entry once and in the order in which it came; of an unknown name nothing."""

    def __missing__(self, name: str) -> list[str]:
        return []

    def add(self, name: str, more: list[str]) -> None:
        """Append what is not there yet."""
        self[name] = list(dict.fromkeys([*self[name], *more]))


def _word(node: GraphNode, before: list[GraphNode]) -> str:
    """An op as a person says it, with what a pooling shrinks by; empty for what is not worth a word."""
    word = WORDS.get(node.kind, "")
    side = next((one.shape[-1] for one in before if len(one.shape) == 3), 0)
    if "pool" not in word or len(node.shape) != 3 or not side or not node.shape[-1]:
        return word
    return f"{word} → {node.shape[1]} × {node.shape[2]}" if node.kind.startswith("adaptive") else f"{word} {side // node.shape[-1]}"


def _path_of(node: str, parents: dict[str, str], cards: dict[str, list[str]]) -> str:
    """The module with cards in which a node runs; empty where it runs between cards."""
    while node:
        if node in cards:
            return node
        node = parents.get(node, "")
    return ""
