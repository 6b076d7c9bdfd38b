"""A layer's weights as one picture a unit: filters as they are, dense rows in the shape of the image they look at."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DioramaError, NotApplicable, not_found
from ..core.selection import Key, Selection, spoken, within, without_call
from ..data import nesting
from ..scene import Scene

Floats = NDArray[np.floating]
_RECURRENT = re.compile(r"(?:(.+)\.)?weight_(ih|hh)_l(\d+)(_reverse)?")
_GATES = {4: ("input", "forget", "cell", "output"), 3: ("reset", "update", "new"), 1: ("",)}


@dataclasses.dataclass(frozen=True)
class LayerKernels:
    """The weights that lead into the units of one layer.

    ``values`` is (units, inputs, height, width) for filters and for dense layers that look at an image or at maps,
    (units, gates, inputs) for recurrent cells, else (units, inputs). ``words`` says what one picture is.
    """

    layer: str
    parameter: str
    values: Floats
    form: str
    words: str
    tokens: bool = False
    """The rows are tokens' vectors, not units."""

    @property
    def units(self) -> int:
        """How many units the layer has."""
        return len(self.values)

    def rows(self) -> Floats:
        """All weights of each unit in a row, (units, weights)."""
        return self.values.reshape(self.units, -1)


def layers_with_weights(names: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """Layer to parameter, for every parameter with at least two axes; recurrent input weights by their sub-layer."""
    found: dict[str, str] = {}
    alone = not any("." in name for name in names)
    for name, shape in names.items():
        # A matrix with one row may be a layer with one unit; a parameter of the model itself belongs to no layer, unless
        # nothing below it holds any: then the model itself is the layer.
        if len(shape) < 2 or ("." not in name and not alone):
            continue
        recurrent = _RECURRENT.fullmatch(name)
        if recurrent is None:
            layer = name.rpartition(".")[0].replace("parametrizations.", "").removesuffix(".weight")
            if layer not in found or name.endswith(".weight"):
                found[layer] = name
        elif recurrent[2] == "ih":
            found[within(recurrent[1] or "", f"l{recurrent[3]}") + (".reverse" if recurrent[4] else "")] = name
    return found


def kernel(scene: Scene, wanted: str | None, selection: Selection) -> LayerKernels:
    """The weights of the wanted layer, else of the chosen one, else of the first that has any.

    *Raises* NotFound for a layer that does not exist; NotApplicable for one without weights.
    """
    state = scene.parameters()
    found = layers_with_weights({name: array.shape for name, array in state.items()})
    if not found:
        raise NotApplicable("the model has no layer with weights to show")
    chosen = wanted
    if chosen is None:
        keys: list[Key] = [key for key in reversed(selection.a) if key.kind in ("layer", "unit")]
        chosen = next((key.name for key in keys if key.name in found), next(iter(found)))
    if chosen not in found:
        chosen = without_call(chosen)
    if chosen not in found:
        if scene.table is not None and chosen in scene.table.names:
            raise NotApplicable(f"{chosen!r} is a {scene.table[chosen].kind}, which has no weights to show as pictures")
        raise not_found("layer with weights", chosen, found)
    return _shaped(scene, chosen, found[chosen], np.asarray(state[found[chosen]], np.float32))


def _shaped(scene: Scene, layer: str, parameter: str, values: Floats) -> LayerKernels:
    if _RECURRENT.fullmatch(parameter):
        return _gates(scene, layer, parameter, values)
    transposed = scene.table is not None and layer in scene.table.names and "Transpose" in scene.table[layer].kind
    if values.ndim > 2:
        filters = np.swapaxes(values, 0, 1) if transposed else values
        if filters.ndim == 3:
            return LayerKernels(layer, parameter, filters, "gates", "its filter: one row an input channel, one column a place")
        size = " × ".join(map(str, filters.shape[2:]))
        words = f"one {size} filter over {filters.shape[1]} input channel{'' if filters.shape[1] == 1 else 's'}"
        if filters.ndim == 5:
            words += f", averaged over its {filters.shape[2]} slices"
            filters = filters.mean(2)
        return LayerKernels(layer, parameter, filters, "filters", words)
    if scene.table is not None and layer in scene.table.names and scene.table[layer].kind.startswith("Embedding"):
        return LayerKernels(layer, parameter, values, "rows", "the vector of one token", tokens=True)
    if _by_input(scene, layer, values.shape):
        values = values.T
    planes = _image_shape(scene, layer, values.shape[1])
    if planes is not None:
        shape, words = planes
        return LayerKernels(layer, parameter, values.reshape(len(values), *shape), "filters", words)
    return LayerKernels(layer, parameter, values, "rows", f"its {values.shape[1]} incoming weights")


def _gates(scene: Scene, layer: str, parameter: str, values: Floats) -> LayerKernels:
    state = scene.parameters()
    hidden = state[parameter.replace("weight_ih", "weight_hh")].shape[0]
    inner = state.get(parameter.replace("weight_ih", "weight_hr"))
    cells = len(inner[0]) if inner is not None else state[parameter.replace("weight_ih", "weight_hh")].shape[1]
    count = hidden // cells
    names = _GATES.get(count, tuple(str(k) for k in range(count)))
    words = "the weights from the layer's input"
    if count > 1:
        words += f", one row a gate ({', '.join(names)})"
    return LayerKernels(layer, parameter, np.swapaxes(values.reshape(count, cells, -1), 0, 1), "gates", words)


def _by_input(scene: Scene, layer: str, shape: tuple[int, ...]) -> bool:
    """Whether a matrix of the user's own has a row for each number of the input, as in ``x @ w``, and not for each unit."""
    own = scene.table is None or layer not in scene.table.names or "Linear" not in scene.table[layer].kind
    if not own or shape[0] == shape[1]:
        return False
    with contextlib.suppress(DioramaError):
        sizes = {math.prod(part.shape[1:]) for part in nesting.tensors(scene.examples.x)}
        return shape[0] in sizes and shape[1] not in sizes
    return False


def _image_shape(scene: Scene, layer: str, inputs: int) -> tuple[tuple[int, int, int], str] | None:
    """The shape of the image or of the maps that a dense layer looks at, where there is one."""
    before = _maps_before(scene, layer)
    if before is not None:
        shape, name = before
        if int(np.prod(shape)) == inputs and shape[1] * shape[2] > 1:
            return shape, f"its weights for the {shape[1]} × {shape[2]} places of {spoken(name)}, mean over {shape[0]} channels"
        return None
    if not _first(scene, layer):
        return None
    for kind in scene.kinds.values():
        height, width = getattr(kind, "height", None), getattr(kind, "width", None)
        channels = getattr(kind, "channels", None) or 1
        if kind.word == "image" and height and width and height * width * channels == inputs:
            return (channels, height, width), f"its weights for the {height} × {width} pixels of the image"
    return None


def _first(scene: Scene, layer: str) -> bool:
    """Whether a dense layer looks at the input itself: no other layer with weights comes before it."""
    if scene.table is not None and layer in scene.table.names:
        order = scene.table[layer].order
        return not any(one.order < order and one.weight is not None and one.leaf for one in scene.table)
    state = scene.parameters()
    return layer == next(iter(layers_with_weights({name: array.shape for name, array in state.items()})), None)


def _maps_before(scene: Scene, layer: str) -> tuple[tuple[int, int, int], str] | None:
    """The last maps before a dense layer, when only shape changes and unit-wise layers lie between."""
    if scene.table is None or layer not in scene.table.names:
        return None
    own = scene.table[layer]
    for one in sorted(scene.layers.leaves, key=lambda one: -one.order):
        if one.order >= own.order:
            continue
        if one.spatial and len(one.shape) == 3 and one.unit_axis == 1:
            return (one.shape[0], one.shape[1], one.shape[2]), one.name
        if one.weight is not None:
            return None
    return None
