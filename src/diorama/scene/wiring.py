"""How units are wired: which feed one, which it feeds, and all between two layers, by the size of the weights between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from ..model.connections import CANDIDATE, Connections, connections
from ..model.layers import Layer
from ..model.plain_module import named_modules, unwrap

if TYPE_CHECKING:
    from .scene import Scene


@dataclasses.dataclass(frozen=True)
class Wires:
    """The strength of each connection between a unit and the units of another layer.

    *Meaning* the weight between the two where there is one for each (a dense layer), else the length of the weights between, with the sign
    of their sum.
    """

    layer: str
    strengths: np.ndarray


def weighted(scene: Scene) -> list[Layer]:
    """The layers whose units are looked for: those with weights that answer once for each example, tables that are looked up among them."""
    return [one for one in scene.layers.leaves if one.weight is not None and not one.normalises and one.each and one.units > 0]


def connected(scene: Scene) -> Connections:
    """Which units of the layers with weights read which. *Cost* one pass of two examples, once."""
    found: Connections = scene.keep("connections", lambda: connections(scene.model, scene.network.few(), weighted(scene)))
    return found


def reads(
    scene: Scene, layer: Layer, among: Collection[str] | None = None, weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """The layers whose units a layer reads with no weights between, and the strength of each connection, (units, units that they read).

    *Meaning* as in :class:`Wires`; of a recurrent layer the length over all gates, with the sign of the candidate's weight. Of a layer that
    reads several side by side each has the weights that are its own. One whose way could not be followed is not among them (:func:`lost`).
    ``among`` names those that are wanted: in a deep residual network a layer reads all before it, and each costs its own strengths. Who asks
    of many layers gives the ``weights`` (``scene.parameters()``) once.
    """
    state = scene.parameters() if weights is None else weights
    guess = _guessed(scene, layer, state)
    alone = dict([guess]) if guess is not None else {}
    if scene.missing is not None or scene.function or not scene.kinds:
        return alone
    wired = connected(scene)
    place = _place(wired, layer)
    if place < 0:
        return alone
    followed = _followed(wired, place, state)
    found: dict[str, np.ndarray] = {}
    for number in followed if among is None else [one for one in followed if wired.layers[one] in among]:
        values, streams = wired.strengths(state, place, number)
        at = np.minimum(np.searchsorted(streams, wired.writes[number]), len(streams) - 1)
        found[wired.layers[number]] = np.where(streams[at] == wired.writes[number], values[:, at], 0.0).astype(np.float64)
    if not _goes_by_width(layer, wired, place, followed, guess):
        return found
    return {**found, **{name: one for name, one in alone.items() if among is None or name in among}}


def _followed(wired: Connections, place: int, state: Mapping[str, np.ndarray]) -> list[int]:
    """The numbers of the layers that a layer reads along units that were followed, where its weights are known."""
    if not wired.weighs(state, place):
        return []
    return [int(number) for number in np.flatnonzero(wired.feeds[place] & ~wired.missed(place))]


def _goes_by_width(layer: Layer, wired: Connections, place: int, followed: list[int], guess: tuple[str, np.ndarray] | None) -> bool:
    """Whether the layer that fits by its width alone is one that is read."""
    if guess is None:
        return False
    feeders = [name for name, feeds in zip(wired.layers, wired.feeds[place], strict=True) if feeds]
    # What a module of several layers hands on is known by its width alone, and so is the one layer that could not be followed.
    inside = guess[0] not in wired.layers and any(name.startswith(f"{guess[0]}.") for name in feeders)
    return inside or (not followed and ([guess[0]] == feeders or (not feeders and layer.name in wired.aside)))


def _place(wired: Connections, layer: Layer) -> int:
    return wired.layers.index(layer.name) if layer.name in wired.layers else -1


def lost(scene: Scene, layer: Layer, weights: Mapping[str, np.ndarray] | None = None) -> tuple[str, ...]:
    """The layers that a layer reads in a way that could not be followed from unit to unit; ``weights`` as in :func:`reads`."""
    if scene.missing is not None or scene.function or not scene.kinds:
        return ()
    wired = connected(scene)
    place = _place(wired, layer)
    if place < 0 or not wired.feeds[place].any():
        return ()
    state = scene.parameters() if weights is None else weights
    followed, guess = _followed(wired, place, state), _guessed(scene, layer, state)
    known = {wired.layers[number] for number in followed}
    known |= {guess[0]} if guess is not None and _goes_by_width(layer, wired, place, followed, guess) else set()
    return tuple(name for name, feeds in zip(wired.layers, wired.feeds[place], strict=True) if feeds and name not in known)


def handed(scene: Scene, layer: Layer) -> str:
    """The name by which :func:`reads` tells of the units of a layer: of a block of layers in a row those of the last one in it."""
    if layer.leaf:
        return layer.name
    last = _origin(scene, layer)
    return last.name if last.units == layer.units else layer.name


def looks_up(scene: Scene, layer: Layer) -> bool:
    """Whether a layer reads rows of a table that is no layer's, which each example chooses: they have no units that could be joined to it."""
    if scene.missing is not None or scene.function or not scene.kinds:
        return False
    return layer.name in connected(scene).tables


def before(scene: Scene, layer: Layer, unit: int) -> tuple[Wires, ...]:
    """The units that feed a unit, of each layer that does."""
    return tuple(Wires(name, rows[unit]) for name, rows in reads(scene, layer).items() if unit < len(rows))


def after(scene: Scene, layer: Layer, unit: int) -> tuple[Wires, ...]:
    """The units that a unit feeds, of each layer that reads it."""
    behind = [other for other in scene.layers.leaves if other.order > layer.order and other.weight is not None and not other.normalises]
    weights = scene.parameters()
    found = [(other.name, reads(scene, other, [layer.name], weights).get(layer.name)) for other in behind]
    return tuple(Wires(name, rows[:, unit]) for name, rows in found if rows is not None and unit < rows.shape[1])


def _guessed(scene: Scene, layer: Layer, state: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray] | None:
    """The one layer that a layer reads by its width, where units could not be followed: the last before it that fits."""
    weight = _weights(state, layer)
    if weight is None:
        return _gated(scene, layer, state)
    source = _feeding(scene, layer, weight)
    if source is None:
        return None
    rows = weight.reshape(len(weight), weight.shape[1], -1)
    if rows.shape[1] % source.units or not source.units:
        return None
    return source.name, _signed(rows.reshape(len(rows), source.units, -1))


def own(scene: Scene, layer: Layer) -> np.ndarray | None:
    """How strongly each unit of a recurrent layer feeds each a place later, (units, units); None for other layers."""
    if not layer.part or layer.weight is None:
        return None
    return _by_cell(scene.parameters(), layer, layer.weight.replace("weight_ih", "weight_hh"))


def _gated(scene: Scene, layer: Layer, state: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray] | None:
    if not layer.part or layer.weight is None:
        return None
    found = _by_cell(state, layer, layer.weight)
    if found is None:
        return None
    earlier = [one for one in scene.layers if one.order < layer.order or (one.order == layer.order and one.name < layer.name)]
    source = next((one for one in reversed(earlier) if one.leaf and one.units == found.shape[1]), None)
    return (source.name, found) if source is not None else None


def _by_cell(state: Mapping[str, np.ndarray], layer: Layer, name: str) -> np.ndarray | None:
    """A recurrent layer's weights with all gates of a cell as one number."""
    gates, candidate = CANDIDATE.get(layer.kind, (0, 0))
    values = np.asarray(state.get(name, np.zeros(0)), np.float64)
    if values.ndim != 2 or len(values) != gates * layer.units:
        return None
    cells = values.reshape(gates, layer.units, -1)
    found: np.ndarray = np.sqrt(np.square(cells).sum(0)) * np.where(cells[candidate] < 0, -1.0, 1.0)
    return found


def _weights(state: Mapping[str, np.ndarray], layer: Layer) -> np.ndarray | None:
    """A layer's weights with the unit first and what it reads second; none for gates, embeddings and lookups."""
    if layer.weight is None or layer.part or layer.kind.startswith("Embedding"):
        return None
    values = np.asarray(state.get(layer.weight, np.zeros(0)), np.float64)
    if values.ndim < 2:
        return None
    values = np.swapaxes(values, 0, 1) if "Transpose" in layer.kind else values
    return values if len(values) == layer.units else None


def _feeding(scene: Scene, layer: Layer, values: np.ndarray) -> Layer | None:
    """The layer whose units a layer reads with its weights: the last one before it that fits, with weights of its own where possible."""
    width = values.shape[1]
    for other in reversed([one for one in scene.layers if one.order < layer.order]):
        places = int(np.prod(other.shape)) if other.shape else 0
        direct = other.units == width or (values.ndim == 2 and places == width and other.units > 1)
        if not direct:
            if other.leaf and other.weight is not None and not other.normalises:
                return None
            continue
        return _origin(scene, other)
    return None


def _origin(scene: Scene, layer: Layer) -> Layer:
    """The layer with weights whose units a normalization, an activation, a pooling or a flattening hands on."""
    found = _last_in(scene, layer)
    layer = found
    leaves = list(scene.layers.leaves)
    while found.leaf and (found.weight is None or found.normalises):
        earlier = [one for one in leaves if one.order < found.order]
        if not earlier or not (earlier[-1].units == found.units or _flattened(earlier[-1], found)):
            break
        found = earlier[-1]
    return found if found.weight is not None and not found.normalises else layer


def _last_in(scene: Scene, layer: Layer) -> Layer:
    """The layer that says what a block of layers in a row hands on: the last one in it."""
    blocks = named_modules(unwrap(scene.model))
    while not layer.leaf and isinstance(block := blocks.get(layer.name), nn.Sequential) and len(block):
        last = f"{layer.name}.{[*dict(block.named_children())][-1]}" if layer.name else [*dict(block.named_children())][-1]
        if not scene.layers.has(last) or scene.layers[last].units != layer.units:
            break
        layer = scene.layers[last]
    return layer


def _flattened(before: Layer, after: Layer) -> bool:
    """Whether a layer only puts another's maps in a row, one unit after the other."""
    return after.kind == "Flatten" and before.unit_axis == 1 and int(np.prod(before.shape)) == after.units


def _signed(rows: np.ndarray) -> np.ndarray:
    """One number for each along the last axis: itself where there is one, else their length with the sign of their sum."""
    if rows.ndim == 1 or rows.shape[-1] == 1:
        return rows.reshape(rows.shape[: max(1, rows.ndim - 1)])
    found: np.ndarray = np.linalg.norm(rows, axis=-1) * np.where(rows.sum(-1) < 0, -1.0, 1.0)
    return found
