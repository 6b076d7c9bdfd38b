"""A layer's units as views show them: what leaves them on the way to the next layer, as maps, rows or series."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.colour import Limits, magnitude, symmetric
from ..core.errors import NotApplicable, NotRun
from ..core.numerals import counted
from ..core.selection import Key, Selection, spoken
from ..data.nesting import Nested
from ..model.capture import Capture
from ..model.layers import Layer, by_unit
from ..model.own_places import Owners
from ..model.preservation import Mode
from ..scene import Scene
from ..scene.code_means import code_layer
from ..scene.directions import telling
from ..scene.input import CurrentInput
from ..scene.probe import Responses

LARGEST = 64
"""Maps are averaged down to so many pixels a side: tiles are no larger on screen."""

TINY = 24
"""The side of a small map."""
TRIED = 64
"""Examples that are tried for one that a layer takes part in."""


@dataclasses.dataclass(frozen=True)
class ShownLayer:
    """A layer, and where its units' values are taken: behind the normalisation and the ReLU that follow at once."""

    layer: Layer
    source: Layer
    rectified: bool

    @property
    def name(self) -> str:
        """The name that keys use."""
        return self.layer.name

    @property
    def normalised(self) -> str:
        """The norm behind which the values are taken, which makes other numbers of those of the layer: ", after bn1"; nothing where none follows."""
        return f", after {spoken(self.source.name)}" if self.source.name != self.name else ""

    @property
    def words(self) -> str:
        """What lies between the layer and the values: "after bn1 and ReLU"."""
        steps = [spoken(self.source.name)] if self.source.name != self.name else []
        steps += ["ReLU"] if self.rectified else []
        return "after " + " and ".join(steps) if steps else ""

    def values(self, raw: Tensor) -> Tensor:
        """The captured values as the next layer gets them."""
        values = raw.float()
        return values.clamp_min(0) if self.rectified else values

    def sliced(self, at: int | None = None) -> str:
        """Of a unit's volumes what of them is shown: one slice, or their mean; empty for flat maps."""
        axes = [side for axis, side in enumerate(self.layer.shape, 1) if axis != self.layer.unit_axis][:-2]
        if not self.layer.spatial or not axes:
            return ""
        if at is None:
            return f"the mean over {' × '.join(map(str, axes))} slices"
        return f"slice {min(at, axes[-1] - 1)} (of 0 to {axes[-1] - 1})" + (f", the mean over {' × '.join(map(str, axes[:-1]))}" if axes[1:] else "")

    def limits(self, values: np.ndarray, limit: float | None = None) -> Limits:
        """A scale for the values: magnitudes behind a ReLU, else signed about zero."""
        if self.rectified:
            return magnitude(values, 0.0, limit)
        return symmetric(values, limit)


def shown(scene: Scene, layer: Layer) -> ShownLayer:
    """A layer with what is applied to each of its units before anything else happens."""
    source = scene.layers.handed(layer)
    return ShownLayer(layer, source, source.rectified or layer.kind in ("ReLU", "ReLU6"))


def main_layers(scene: Scene) -> list[ShownLayer]:
    """The layers that learn something of their own: convolutions, dense and recurrent layers, attention, embeddings."""
    found = [layer for layer in scene.layers.leaves if layer.weight is not None and not layer.normalises]
    return [shown(scene, layer) for layer in found or scene.layers.leaves if layer.shape and layer.each]


def telling_layers(scene: Scene) -> list[ShownLayer]:
    """Of these the ones that a view may open on: without the projections of shortcuts."""
    layers = main_layers(scene)
    kept = {one.name for one in telling(scene, [each.layer for each in layers])}
    return [one for one in layers if one.layer.name in kept]


def look(scene: Scene, layers: Sequence[ShownLayer], x: Nested | None = None, mode: Mode = "eval") -> dict[str, Tensor]:
    """Values (n, units, …) by the layers' names, of an input or of the probe set; one forward pass."""
    found = scene.activations([one.source.name for one in layers], x, mode)
    return {one.name: one.values(found[one.source.name]) for one in layers}


def own(scene: Scene, x: Nested, values: Tensor) -> Tensor:
    """A layer's values (units, …) of one input without those at places that only fill a text up."""
    owners = Owners(scene.kind)
    owners.read(x)
    there = owners.own(values[None])
    return values if there is None else values[:, there[0]]


def unfilled(scene: Scene, x: Nested, values: Tensor) -> Tensor:
    """A layer's values (units, …) of one input, each at its place: NaN at those that only fill a text up."""
    owners = Owners(scene.kind)
    owners.read(x)
    there = owners.own(values[None])
    return values if there is None else values.masked_fill(~there, torch.nan)


def running(scene: Scene, one: ShownLayer, current: CurrentInput) -> tuple[CurrentInput, Tensor]:
    """The current input where the network runs a layer for it, else the first live example for which it does; and the layer's values.

    *Raises* NotRun where it runs for none of the first :data:`TRIED`.
    """
    try:
        return current, look(scene, [one], current.x)[one.name][0]
    except NotRun:
        for example in range(min(TRIED, len(scene.live))):
            other = scene.current(example=example)
            with contextlib.suppress(NotRun):
                return other, look(scene, [one], other.x)[one.name][0]
        raise


def unit_of(scene: Scene, selection: Selection) -> Key:
    """The chosen unit, else the one of the chosen layer that responds most to the input.

    With nothing chosen it is of a variational autoencoder's code; else of the last recurrent layer (its memory cells), else of the last
    with maps, else of the last.
    """
    key = next((key for key in reversed(selection.a) if key.kind in ("unit", "layer")), None)
    if key is not None and key.kind == "unit":
        return key
    if key is not None:
        one = shown(scene, scene.layers[key.name])
    else:
        layers = telling_layers(scene)
        if not layers:
            raise NotApplicable("the model has no layer with units to look at")
        cells = {layer.name for layer in scene.layers.recurrent}
        made = code_layer(scene)
        one = shown(scene, made) if made is not None else next(
            (one for one in reversed(layers) if one.layer.name in cells),
            next((one for one in reversed(layers) if one.layer.spatial), layers[-1]),
        )
    current, values = running(scene, one, scene.current(selection))
    values = own(scene, current.x, values)
    if not values.ndim:
        raise NotApplicable(f"{one.name} puts out one number, which has no units; choose a unit of another layer")
    return Key("unit", one.name, (int(strength(values).argmax()),))


def small(values: Tensor, limit: int) -> np.ndarray:
    """The first units' maps; without maps the units as one row of cells, or as rows over the steps."""
    if values.ndim >= 3:
        return maps(values[:limit], TINY)
    if values.ndim == 1:
        return values[None, None].numpy()
    rows, columns = min(TINY, len(values)), min(4 * TINY, values.shape[1])
    return F.adaptive_avg_pool2d(values[None], (rows, columns)).numpy()


def responses(scene: Scene, layers: Sequence[ShownLayer]) -> dict[str, Responses]:
    """Each unit's highest, lowest and mean value for each example of the probe set, by the layers' names."""
    found = scene.responses([one.source.name for one in layers])
    return {one.name: _behind(one, found[one.source.name]) for one in layers}


def without_numbers(found: Iterable[Responses]) -> str:
    """A sentence on the units that answer an example with what is no number; nothing where all answer with numbers."""
    each = [~one.high.isnan().any(0) for one in found]
    bad, total = sum(int((~fine).sum()) for fine in each), sum(map(len, each))
    if not bad:
        return ""
    s = "s" * (bad == 1)
    return f"{bad:,} of {counted(total, 'units')} answer{s} some example with what is no number, and count{s} as off there."


def traced(scene: Scene, one: ShownLayer) -> tuple[Responses, str]:
    """The same of one layer, and how it was found: where the network sorts or picks rows on the way to it, or runs it for some inputs only,
    each example is asked alone, up to 256 of them, so that a row is its own for certain.

    *Meaning* not-a-number for an example for which the layer is not run. *Cost* one forward pass an example. *Raises* NotApplicable for a layer
    that merges examples.
    """
    from ..derive.scans import apart, each_alone  # all of deriving, which no other look at a layer needs

    source = one.source
    if not apart(source):
        return responses(scene, [one])[one.name], ""
    rows: list[Tensor] = []
    with Capture(scene.model, [source.name], edits=scene.edits, cancel=scene.cancel) as look:
        for _, x in each_alone(scene):
            look(x)
            own = by_unit(source, look[source.name]).float().cpu() if source.name in look else torch.zeros(0, source.units)
            own = own.transpose(0, 1).flatten(1) if len(own) else torch.full((source.units, 1), torch.nan)
            rows.append(torch.stack([own.amax(1), own.amin(1), own.mean(1), own.clamp_min(0).mean(1)]))
    found = Responses(*torch.stack(rows).unbind(1))
    which = "each example was asked alone" if len(rows) == len(scene.live) else f"each of the first {len(rows)} examples was asked alone"
    return _behind(one, found), f"{spoken(source.name)} {source.unlike}: {which}"


def _behind(one: ShownLayer, raw: Responses) -> Responses:
    if not one.rectified:
        return raw
    return Responses(raw.high.clamp_min(0), raw.low.clamp_min(0), raw.positive, raw.positive)


def maps(values: Tensor, largest: int = LARGEST, at: int | None = None) -> np.ndarray:
    """One example's values (units, …) as maps (units, height, width), averaged down to ``largest`` pixels a side.

    Of volumes it is the slice ``at``, the last where there are fewer; left out, the mean over all (see ``Shown.sliced``).
    """
    plane = values.select(-3, min(at, values.shape[-3] - 1)) if at is not None and values.ndim > 3 else values
    while plane.ndim > 3:
        plane = plane.mean(1)
    if plane.ndim == 2:
        plane = plane[:, None]
    if plane.ndim == 1:
        plane = plane[:, None, None]
    height, width = plane.shape[1:]
    if max(height, width) > largest:
        scale = largest / max(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        plane = F.adaptive_avg_pool2d(plane[:, None], size)[:, 0]
    return plane.numpy()


def strength(values: Tensor) -> Tensor:
    """How strongly each unit of one example (units, …) responds: its largest magnitude; NaN counts as none."""
    return values.reshape(len(values), -1).abs().nan_to_num(0, 0, 0).amax(1)


def off(values: Tensor) -> Tensor:
    """The units of one example (units, …) that are off: nowhere above zero behind a ReLU."""
    return ~(values.reshape(len(values), -1) > 0).any(1)
