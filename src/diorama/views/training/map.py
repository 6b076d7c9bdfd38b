"""The network as a column of cards: how it is chosen what to look at, and its health at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
from torch import Tensor

from ...core.knobs import knob
from ...core.marks import Block, Blocks, Edge
from ...core.picture import Picture, Progress
from ...core.saying import plain
from ...core.selection import Selection, layer_key
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

    *Meaning* Δw/w is how much of a layer's weight one step changes (about 0.001 is usual); *off* is the share of its
    units that are off for the whole probe set. The small curve is Δw/w over the training. A card warns where a number that was
    recorded of the layer lies outside the range of healthy trainings; the view health shows all of them.
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
        """First the maps; then, where it is not known yet, the shares of units that are off."""
        layers = main_layers(scene)
        found = look(scene, layers, scene.current(selection).x)
        known = scene.knows([one.source.name for one in layers])
        told = known and scene.run is None
        cards = self._cards(scene, layers, found, known)
        yield self._drawn(scene, selection, layers, cards, told)
        if not told:
            if not known:
                yield Progress(done=0, total=1, note="one pass over the probe set, to find units that are off")
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
        """A card a layer, with the share of its units that are off where that is ``known``."""
        seen = responses(scene, layers) if known else {}
        off = [seen[one.name].dead(one.rectified).float().mean().item() if known else None for one in layers]
        return [self._card(scene, one, found[one.name][0], dead) for one, dead in zip(layers, off, strict=True)]

    def _card(self, scene: Scene, one: ShownLayer, values: Tensor, dead: float | None) -> Block:
        layer = one.layer
        images = small(values, self.limit)
        ratio = signals.latest(scene, signals.ratio_name(layer))
        if dead is None:
            dead = signals.latest(scene, signals.dead_name(one.source.name))
        notes = [_ways(scene, one), plain(f"Δw/w {ratio:.1e}") if ratio is not None else ""]
        notes.append(one.sliced() and f"maps: {one.sliced()}")
        notes.append(f"{100 * dead:.0f} % off" if dead is not None and one.rectified else "")
        return Block(
            id=layer_key(one.name), label=one.name, kind=layer.kind, key=layer_key(one.name),
            detail=" × ".join(map(str, layer.shape)), notes=tuple(filter(None, notes)), maps=images,
            maps_limits=one.limits(images), spark=signals.spark(scene, signals.ratio_name(layer)),
            warning=_warning(values, dead if one.rectified else None),
        )


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
    return "almost all units are off" if dead is not None and dead > ranges.DEAD.high else ""


def _ill(scene: Scene) -> dict[str, str]:
    """By layer: the worst number that was recorded of it, where it lies outside the healthy ranges."""
    if scene.run is None or scene.step is None:
        return {}
    health = layer_health.looked_at(scene.run, scene.step)
    if health is None:
        return {}
    found = {}
    for row, layer in enumerate(health.layers):
        if wrong := health.wrong(row):
            name, cell = wrong[0]
            found[layer["name"]] = f"{name} {layer_health.SIDES[cell.outside]} since step {cell.since}"
    bad = scene.run.meta.get("first_bad")
    if isinstance(bad, dict) and bad.get("layer") and isinstance(bad.get("step"), int) and bad["step"] <= scene.step:
        found[str(bad["layer"])] = f"the first NaN or infinite number began here, at step {bad['step']}"
    return found


def _between(scene: Scene, layers: list[ShownLayer]) -> Iterator[Edge]:
    """What happens between one card and the next, found in the graph: "ReLU · max-pool 2"."""
    cards = {layer_key(one.layer.path): layer_key(one.name) for one in layers}
    parents = {node.id: node.parent for node in scene.graph.nodes}
    before, words, side = "", list[str](), 0
    for node in scene.graph.nodes:
        card = cards.get(node.id)
        if card is not None:
            if before and before != card and words:
                yield Edge(source=before, target=card, label=" · ".join(dict.fromkeys(words)))
            before, words = card, []
        elif node.is_op and not _inside(node.id, parents, cards):
            word = WORDS.get(node.kind, "")
            if "pool" in word and len(node.shape) == 3 and side and node.shape[-1]:
                word += f" → {node.shape[1]} × {node.shape[2]}" if node.kind.startswith("adaptive") else ""
                word += f" {side // node.shape[-1]}" if not node.kind.startswith("adaptive") else ""
            words += [word] if word else []
        if len(node.shape) == 3 and (node.is_op or not node.key):
            side = node.shape[-1]


def _inside(node: str, parents: dict[str, str], cards: dict[str, str]) -> bool:
    while node:
        node = parents.get(node, "")
        if node in cards:
            return True
    return False
