"""How a unit is wired: which units feed it, and which it feeds, by the size of the weights between them."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..model.layers import Layer
from ..scene import Scene
from .units import is_normalisation


@dataclasses.dataclass(frozen=True)
class Wires:
    """The strength of each connection between a unit and the units of another layer.

    *Meaning* the sum of the weights between the two where there is one for each (a dense layer), else the length of the
    kernel, with the sign of its sum.
    """

    layer: str
    strengths: np.ndarray


def before(scene: Scene, layer: Layer, unit: int) -> Wires | None:
    """The units that feed a unit."""
    weight = _weights(scene, layer)
    if weight is None or unit >= len(weight):
        return None
    source = _feeding(scene, layer)
    if source is None:
        return None
    return _wires(source, weight[unit], layer, unit)


def after(scene: Scene, layer: Layer, unit: int) -> Wires | None:
    """The units that a unit feeds."""
    for other in scene.layers.leaves:
        if other.order <= layer.order or other.weight is None or is_normalisation(other):
            continue
        source, weight = _feeding(scene, other), _weights(scene, other)
        if source is None or weight is None or source.name != layer.name:
            continue
        rows = weight.reshape(len(weight), weight.shape[1], -1)
        width = rows.shape[1]
        if width == layer.units:
            own = rows[:, unit]
        elif width % layer.units == 0:
            each = width // layer.units
            own = rows[:, unit * each : (unit + 1) * each].reshape(len(rows), -1)
        else:
            continue
        return Wires(other.name, _signed(own))
    return None


def _weights(scene: Scene, layer: Layer) -> np.ndarray | None:
    """A layer's weights with the unit first and what it reads second; none for gates, embeddings and lookups."""
    if layer.weight is None or layer.part or layer.kind.startswith("Embedding"):
        return None
    values = np.asarray(scene.parameters().get(layer.weight, np.zeros(0)), np.float64)
    if values.ndim < 2:
        return None
    values = np.swapaxes(values, 0, 1) if "Transpose" in layer.kind else values
    return values if len(values) == layer.units else None


def _feeding(scene: Scene, layer: Layer) -> Layer | None:
    """The layer whose units a layer reads: the last one before it that fits, with weights of its own where possible."""
    values = _weights(scene, layer)
    if values is None:
        return None
    width = values.shape[1]
    for other in reversed([one for one in scene.layers if one.order < layer.order]):
        places = int(np.prod(other.shape)) if other.shape else 0
        direct = other.units == width or (values.ndim == 2 and places == width and other.units > 1)
        if not direct:
            if other.leaf and other.weight is not None and not is_normalisation(other):
                return None
            continue
        return _origin(scene, other)
    return None


def _origin(scene: Scene, layer: Layer) -> Layer:
    """The layer with weights whose units a normalization, an activation, a pooling or a flattening hands on."""
    found = layer
    leaves = list(scene.layers.leaves)
    while found.leaf and (found.weight is None or is_normalisation(found)):
        earlier = [one for one in leaves if one.order < found.order]
        if not earlier or not (earlier[-1].units == found.units or _flattened(earlier[-1], found)):
            break
        found = earlier[-1]
    return found if found.weight is not None and not is_normalisation(found) else layer


def _flattened(before: Layer, after: Layer) -> bool:
    """Whether a layer only puts another's maps in a row, one unit after the other."""
    return after.kind == "Flatten" and before.unit_axis == 1 and int(np.prod(before.shape)) == after.units


def _wires(source: Layer, own: np.ndarray, layer: Layer, unit: int) -> Wires | None:
    rows = own.reshape(own.shape[0], -1)
    if len(rows) == source.units:
        return Wires(source.name, _signed(rows))
    if len(rows) % source.units == 0:
        return Wires(source.name, _signed(rows.reshape(source.units, -1)))
    return None


def _signed(rows: np.ndarray) -> np.ndarray:
    """One number a row: itself where there is one, else the row's length with the sign of its sum."""
    if rows.ndim == 1 or rows.shape[1] == 1:
        return rows.reshape(len(rows))
    found: np.ndarray = np.linalg.norm(rows, axis=1) * np.where(rows.sum(1) < 0, -1.0, 1.0)
    return found
