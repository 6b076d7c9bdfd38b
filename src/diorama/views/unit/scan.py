"""All maps of a layer on the input that is looked at now: which of them follows the object?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.colour import Limits
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Group, Image, Node, Tiles
from ...core.numerals import counted
from ...core.picture import Picture, Progress
from ...core.rounding import alike
from ...core.selection import Selection, spoken, unit_key
from ...derive.scans import known, seen
from ...scene import Scene
from ...scene.input import CurrentInput
from .. import crops, scales
from ..units import ShownLayer, look, main_layers, maps, off, responses, shown, strength
from ..view import View
from . import _preferred_inputs

TOGETHER = 16
"""So many units are sent back to the pixels in one batch."""


class ScanView(View):
    """The picture from the webcam, the pad or the probe set under all maps of a layer, for finding what a map follows.

    *Meaning* each square is one unit: its map, the picture that it asks for, the examples that drive it most (three by
    three, what it sees of them), or what in this picture excites it where it responds most. Show the camera an object,
    move it, and look for the map that moves with it; click the map to keep it in sight, large, beside the picture.
    Faded units are off here.
    *Units* the value under a square is the unit's strongest response to this picture; colours keep one scale for all
    units, and over pictures where it is known.
    *Cost* one forward pass a picture, up to a hundred a second on a small network; deconvnet one backward pass a unit;
    the pictures that units ask for 96 steps of synthesis for all of them together, once for a snapshot.
    """

    title = "Live scan"
    question = "Which map follows the object in the picture?"
    family = "features"
    papers = ("Yosinski et al. 2015, arXiv:1506.06579", "Zeiler & Fergus 2014, arXiv:1311.2901")
    rows = ("A2", "A3")
    follows = ("unit", "layer", "example")
    input = True

    layer: str | None = knob(None, "The layer; by itself the chosen one, else the first with maps.", kind="layer", main=True)
    show: str = knob(
        "activations", "What stands for a unit: its map, the picture that it asks for, its strongest examples, or what excites "
        "it in this picture.", choices=("activations", "synthesized", "top", "deconvnet"), main=True,
    )
    sort: str = knob(
        "index", "Order of the units: each in its place, by their response to this picture, or by how unusual that is for "
        "them: the detector of what is in the picture comes first.", choices=("index", "response", "unusual"), main=True,
    )
    limit: int = knob(64, "The most units that are shown; the strongest of them when there are more.", low=1, high=512)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Pictures only."""
        return crops.only_pictures(scene, "the live scan looks at pictures", "activations")

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture; strongest examples need a pass over the examples the first time."""
        one = self._layer(scene, selection)
        current = scene.current(selection)
        values = look(scene, [one], current.x)[one.name][0]
        if self.sort == "unusual" and not scene.knows([one.source.name]):
            yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}, for what is usual")
        strong = self._unusual(scene, one, values) if self.sort == "unusual" else strength(values)
        order = strong.argsort(descending=True, stable=True)[: self.limit]
        order = order.sort().values if self.sort == "index" else order
        if self.show == "top" and not known(scene, one.source):
            yield Progress(done=0, total=1, note="one pass over the examples, for the strongest")
        locked = next((key.number for key in reversed(selection.a) if key.kind == "unit" and key.name == one.name), None)
        alone = self.show in ("top", "synthesized")  # they are the same for every picture, which need not stand beside them
        large = () if alone else tuple(self._large(scene, one, current, values, locked))
        total = len(values)
        caption = f"{len(order)} of {total} units" if len(order) < total else f"All {total} units" if total != 1 else "The one unit"
        caption += f" of {spoken(one.name)}" + (f", {one.words}" if one.words else "") + f", on {current.label}."
        caption += _MEANINGS[self.show]
        hint = "Click one to keep it in sight." if not alone and locked is None else ""
        if not alone:
            caption += "" if locked is None else " The chosen one is shown large."
        for images, limits, note, final in self._images(scene, selection, one, current, values, order):
            grid = self._grid(one, values, order, images, limits)
            # Until one is kept in sight the maps are what there is to see, and a narrow place shows what comes first.
            parts: tuple[Node, ...] = (Group(children=large, direction="row"), grid)
            body: Node = grid if alone else Group(children=parts if locked is not None else parts[::-1])
            title = f"{spoken(one.name)} on {current.label}"
            yield self.picture(scene, selection, title, body, caption, note=note, hint=hint, final=final)

    def _unusual(self, scene: Scene, one: ShownLayer, values: Tensor) -> Tensor:
        """How far each unit's largest value lies above its usual one, in standard deviations over the live examples."""
        usual = responses(scene, [one])[one.name].high.nan_to_num(0, 0, 0)
        spread = usual.std(0, correction=0).masked_fill(alike(usual.amin(0), usual.amax(0)), 0)
        here = values.reshape(len(values), -1).amax(1).nan_to_num(0, 0, 0)
        return torch.where(spread > 0, (here - usual.mean(0)) / spread.clamp_min(1e-12), torch.full_like(here, -torch.inf))

    def _layer(self, scene: Scene, selection: Selection) -> ShownLayer:
        if self.layer is not None:
            return shown(scene, scene.layers[self.layer])
        for key in reversed(selection.a):
            if key.kind in ("layer", "unit"):
                return shown(scene, scene.layers[key.name])
        layers = main_layers(scene)
        return next((one for one in layers if one.layer.spatial), layers[0])

    def _grid(
        self, one: ShownLayer, values: Tensor, order: Tensor, images: np.ndarray, limits: Limits | None
    ) -> Tiles:
        units = [int(unit) for unit in order]
        quiet = off(values) if one.rectified else strength(values) == 0
        high = values.reshape(len(values), -1).amax(1)
        size = 96 if self.show == "top" else 72 if len(units) <= 32 else 52
        return Tiles(
            images=images, limits=limits, labels=tuple(map(str, units)),
            notes=tuple(f"{float(high[unit]):.3g}" for unit in units), keys=tuple(unit_key(one.name, u) for u in units),
            faded=quiet[order].numpy(), size=size,
        )

    def _images(
        self, scene: Scene, selection: Selection, one: ShownLayer, current: CurrentInput, values: Tensor, order: Tensor
    ) -> Iterator[tuple[np.ndarray, Limits | None, str, bool]]:
        """The squares with their scale, a note, and whether they stay: those that form come several times."""
        units = [int(unit) for unit in order]
        if self.show != "synthesized":
            yield *self._still(scene, one, current, values, units), "", True
            return
        try:
            for formed in _preferred_inputs.of_units(scene, one.source.name, units):
                images = formed.pictures()
                yield images, formed.limits(images), "", formed.done
        except NotApplicable as error:
            yield maps(values[units]), one.limits(values.numpy(), self._scale(scene, one)), str(error), True

    def _still(
        self, scene: Scene, one: ShownLayer, current: CurrentInput, values: Tensor, units: list[int]
    ) -> tuple[np.ndarray, Limits | None]:
        if self.show == "top":
            found = seen(scene, one.source)
            images = scene.once(
                f"montages/{one.source.name}",
                lambda: crops.montages(scene, found, one.source, range(one.layer.units)),
            )[units]
            return images, crops.limits_of(images)
        if self.show == "deconvnet":
            parts = []
            for start in range(0, len(units), TOGETHER):
                part = units[start : start + TOGETHER]
                places = [crops.strongest_place(values[unit]) for unit in part]
                x = crops.repeated(current.x, len(part))
                signals = crops.sent_back(scene, one.source, x, part, places, "deconvnet")[0]
                parts.append(_seen_part(scene, one, signals, places))
            return crops.relief(np.concatenate(parts))
        return maps(values[units]), one.limits(values.numpy(), self._scale(scene, one))

    def _scale(self, scene: Scene, one: ShownLayer) -> float | None:
        """A scale that stands still while the picture moves, where the layer's range is known."""
        limit = scales.activation(scene, one)
        if limit is None and known(scene, one.source):
            moments = seen(scene, one.source).statistics.moments
            high = np.maximum(moments.high, 0 if one.rectified else -moments.low)
            limit = float(np.nanmax(high)) if np.isfinite(high).any() else None
        return limit if limit else None

    def _large(
        self, scene: Scene, one: ShownLayer, current: CurrentInput, values: Tensor, locked: int | None
    ) -> Iterator[Node]:
        pixels = np.asarray(current.shown)
        boxes = ()
        if locked is not None:
            place = crops.strongest_place(values[locked])
            field = crops.field_of(scene, one.source)
            box = crops.box_of(field, place, f"{spoken(one.name)}/{locked}")
            boxes = (box,) if box is not None and field is not None and not field.whole else ()  # type: ignore[assignment]
        yield Image(
            pixels=pixels, limits=crops.limits_of(pixels[None]), boxes=boxes, title=current.label, key=current.key, size=180
        )
        if locked is None:
            return
        key = unit_key(one.name, locked)
        own = maps(values[locked : locked + 1])[0]
        limits = one.limits(values.numpy(), self._scale(scene, one))
        exact = own.shape == tuple(values[locked].shape)
        yield Image(
            pixels=own, limits=limits, title=f"{spoken(one.name)}/{locked}", key=key, place_key=key if exact else "", size=180
        )
        if pixels.shape[:2] != own.shape and min(own.shape) > 1 and bool(torch.isfinite(values[locked]).all()):
            heat = crops.laid_over(own, crops.field_of(scene, one.source) if exact else None, pixels.shape[:2])
            yield Image(
                pixels=pixels, limits=crops.limits_of(pixels[None]), heat=heat, heat_limits=limits,
                title="its map over the picture", key=key, size=180,
            )


def _seen_part(scene: Scene, one: ShownLayer, signals: np.ndarray, places: list[crops.Place]) -> np.ndarray:
    """Of what was sent back, what the units see from their places: nothing else can differ from zero."""
    field = crops.field_of(scene, one.source)
    if field is None or field.whole or max(field.largest) < crops.SMALLEST:
        return signals
    parts = [crops.crop(s, crops.box_of(field, place), field.largest) for s, place in zip(signals, places, strict=True)]
    return np.stack(parts)


_MEANINGS = {
    "activations": " Each square is one unit's map, bright where it responds; the number is its strongest response.",
    "synthesized": " Each square is what the unit asks to see, made from noise; the number is its response to this picture.",
    "top": " Each square holds what the unit sees of the nine examples that drive it most.",
    "deconvnet": " Each square shows which pixels excite the unit where it responds most in this picture, in its own range.",
}
