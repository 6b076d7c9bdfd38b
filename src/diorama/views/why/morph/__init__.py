"""One input turned into another, step by step: where the answer flips, and what inside the network turns with it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....core import registry
from ....core.errors import NotApplicable, UsageError
from ....core.knobs import knob
from ....core.picture import Picture, Progress
from ....core.selection import Selection
from ....data import nesting
from ....methods.method import Look
from ....methods.perturbation.morph import InputWay, answers, asked_at, parsed
from ....methods.perturbation.morph_plane import DrawnWay, InputPlane
from ....model.plain_module import fed
from ....scene import Scene
from ... import pairs
from ...view import View
from .._question import looking
from . import measured_way
from .marks import body, caption, checks
from .stops import MorphResults, Stops

KEPT = 8
"""So many ways are kept per set of weights, so that a slider moves without a new computation."""


SECONDS = 3.0
"""A plane is so fine that it takes no longer, where its resolution is left open."""
NUMBERS = 50_000_000
"""The direction aside is found from examples of at most so many numbers in all."""


class MorphView(View):
    """Slide from one example to another: where the answer flips, which units turn with it, and how deep it is decided.

    *Meaning* every place between start (0) and end (1) is an input of its own. The straight way mixes the two inputs;
    beside it runs a second way: through a layer's space (its activations are mixed and carried on through the rest of
    the network; the pictures are inputs that a search found for these activations), or one that you draw by hand over
    the plane of start, end and a third direction. Choose two examples, one in each set, or one and draw the other.
    *Units* a place is a share of the way; read-outs are probabilities of a linear reading of each layer.
    *Error* a flip's place is known to a thousandth; an answer that comes and goes between two neighbouring places is
    not seen. What a layer "knows" is what a linear read-out of a coarse grid of it finds; its accuracy on examples that
    it was not fitted on stands beside it. Mixed inputs are unlike anything the network was trained on.
    *Cost* two walks of ``places`` forward passes a way, some dozens of passes at the flip, sixty forward and backward
    passes for the inputs behind mixed activations, and resolution² forward passes for the plane: when that is left
    open, as many as three seconds allow.
    *Source* Alain & Bengio 2016 (read-outs); Dhamdhere, Sundararajan & Yan 2018 (what units do along a way).
    """

    title = "Morph"
    question = "What turns one answer into another, and where does it flip?"
    family = "relationships"
    papers = (
        "Alain & Bengio 2016, arXiv:1610.01644", "Dhamdhere, Sundararajan & Yan 2018, arXiv:1805.12233",
        "Mahendran & Vedaldi 2015, arXiv:1412.0035",
    )
    rows = ("C28",)
    by_labels = True
    follows = ("example", "class")
    input = True

    at: float = knob(0.5, "How far on the way: 0 is the start, 1 the end.", low=0.0, high=1.0, main=True)
    way: str = knob(
        "auto", "The way beside the straight one: through a layer's space, drawn by hand, or none; auto takes the drawn "
        "one where there is one, else a layer's.", choices=("auto", "layer", "drawn", "straight"), main=True,
    )
    start: int | None = knob(None, "The example to go from; the chosen one when left open.", kind="example")
    end: int | None = knob(None, "The example to go to; that of set B when left open.", kind="example")
    layer: str | None = knob(
        None, "The layer whose activations are mixed; an early one when left open.", kind="layer"
    )
    path: str = knob("", "A way drawn by hand, as x,y;x,y;…: x from start (0) to end (1), y aside.")
    third: int | None = knob(
        None, "The example that the plane also goes through; when left open, the direction in which the examples differ "
        "most.", kind="example",
    )
    method: str = knob(
        "gradient", "The method of the maps on both sides of the flip.", choices=lambda: tuple(sorted(registry.methods))
    )
    show: str = knob(
        "all", "All of it, or the answer, the units, the depth, the maps or the plane alone.",
        choices=("all", "answer", "units", "depth", "maps", "plane"),
    )
    places: int = knob(41, "At how many places of the way the network is asked.", low=3, high=1001)
    window: float = knob(0.05, "How far from the flip its two sides are taken.", low=0.001, high=0.5)
    resolution: int | None = knob(
        None, "Places along each side of the plane; left open: what three seconds allow, at most 36.", kind="integer",
        low=6, high=200,
    )

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs two examples and a known task."""
        if len(scene.examples) < 2:
            return "it goes from one example to another, and there is only one"
        if not scene.task:
            return "it follows the answer, and what the network answers is not known; say it with task="
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The answer along the straight way first; then the other way, what is inside, the maps, and the plane."""
        stops = self._stops(scene, selection)
        drawing = MorphResults(self, scene, stops)
        stages = self._stages(scene, stops, drawing)
        total = 7
        for number, (worked, note) in enumerate(stages):
            if worked:
                yield Progress(done=number + 1, total=total, note=note)
                if drawing.told:
                    yield self._picture(scene, selection, drawing, final=False)
        yield self._picture(scene, selection, drawing, final=True)

    def _picture(self, scene: Scene, selection: Selection, drawing: MorphResults, *, final: bool) -> Picture:
        return self.picture(
            scene, selection, drawing.title, body(drawing, self.at, self.show), caption(drawing),
            checks=checks(drawing), note=" ".join(drawing.notes), final=final,
        )

    # What is compared.

    def _stops(self, scene: Scene, selection: Selection) -> Stops:
        a, b = pairs.examples(scene, selection)
        start = scene.current(selection) if scene.custom and self.start is None else None
        if start is not None:
            # A drawn input is where the way begins; it goes to the chosen example.
            chosen = selection.one("example")
            b = chosen.number if chosen is not None else b
        if start is None:
            start = scene.current(selection, self._number(scene, self.start, a))
        end = scene.current(selection, self._number(scene, self.end, b))
        third = None if self.third is None else scene.current(selection, self._number(scene, self.third, 0))
        look = looking(scene, start)
        scores = [look.scores(one.x) for one in (start, end)]
        if scene.task == "classification" and scores[0].ndim > 2:
            raise NotApplicable("it follows one answer an input, and this network answers at every place of it")
        at = asked_at(look, start.x, end.x)
        found = [answers(look, one, at)[0].double().cpu().numpy() for one in scores]
        return Stops(scene, look, start, end, third, (found[0], found[1]), at)

    @staticmethod
    def _number(scene: Scene, wanted: int | None, otherwise: int) -> int:
        number = otherwise if wanted is None else wanted
        if number >= len(scene.examples):
            raise UsageError(f"the probe set has examples 0 to {len(scene.examples) - 1}, got {number}")
        return number

    # The stages of the work: each says whether it had anything to do.

    def _stages(self, scene: Scene, stops: Stops, drawing: MorphResults) -> Iterator[tuple[bool, str]]:
        kept: dict[Any, Any] = scene.once("morph/kept", dict)
        straight = InputWay(stops.look, stops.start.x, stops.end.x)
        drawing.more = self.way != "straight"
        known = self._travel(kept, "straight", straight, stops, drawing)
        yield not known, "the straight way"
        other = self._other(stops, drawing)
        drawing.more = False
        if other is not None:
            known = self._travel(kept, f"{other.title} {self.path}", other, stops, drawing)
            yield not known, other.title
        layers = measured_way.followed(scene)
        if self.show in ("all", "depth", "units"):
            yield self._inside(scene, stops, drawing, layers), "read-outs and activity"
        if self.show in ("all", "units"):
            missing = [told for told in drawing.told if not told.units]
            for told in missing:
                measured_way.weigh_units(told, layers, stops.target, self.window)
            yield bool(missing), "the units at the flip"
        yield drawing.stand(self.at, self.window, self.show in ("all", "answer", "maps")), "inputs on the way"
        if self.show in ("all", "maps"):
            yield self._maps(stops, drawing), "maps on both sides of the flip"
        if self.show in ("all", "plane"):
            yield from self._plane(kept, stops, drawing)

    def _travel(self, kept: dict[Any, Any], name: str, way: InputWay, stops: Stops, drawing: MorphResults) -> bool:
        """Put a way's answers into the drawing; True where they were known."""
        known = (name, stops.mark, self.places, self.method, self.window, self.third)
        told = kept.pop(known, None)
        fresh = told is None
        if told is None:
            told = measured_way.travelled(way, self.places)
        # What is kept was made by an earlier request, which may have been cancelled since.
        told.way = way
        kept[known] = told
        while len(kept) > KEPT:
            kept.pop(next(iter(kept)))
        drawing.told.append(told)
        return not fresh

    def _other(self, stops: Stops, drawing: MorphResults) -> InputWay | None:
        drawn = parsed(self.path)
        wanted = self.way if self.way != "auto" else "drawn" if drawn else "layer"
        if wanted == "straight":
            return None
        try:
            if wanted == "drawn":
                if not drawn:
                    drawing.notes.append("No way is drawn yet: draw one over the plane, from start to end.")
                    return None
                return DrawnWay(self._span(stops), drawn)
            layers = stops.scene.layers
            return measured_way.carried(
                stops.look, stops.start.x, stops.end.x, None if self.layer is None else layers[self.layer], layers
            )
        except NotApplicable as error:
            if self.way != "auto" or self.layer is not None:
                raise
            drawing.notes.append(f"There is the straight way alone: {error}.")
            return None

    def _inside(self, scene: Scene, stops: Stops, drawing: MorphResults, layers: list[Any]) -> bool:
        missing = [told for told in drawing.told if not told.active]
        if missing and layers:
            without = [one.index for one in (stops.start, stops.end) if one.index is not None]
            reads, known = measured_way.read_outs(scene, layers, without)
            for told in missing:
                measured_way.look_inside(told, layers, reads)
                told.known = known
        return bool(missing)

    def _maps(self, stops: Stops, drawing: MorphResults) -> bool:
        worked = False
        for told in drawing.told:
            if told.maps is not None:
                continue
            try:
                measured_way.map_sides(told, stops.target, registry.methods[self.method](), self.window)
                if told.maps is None and stops.tokens:
                    told.embedded = measured_way.embedded_sides(told, stops.target, self.window)
                worked = True
            except NotApplicable as error:
                drawing.notes.append(f"There are no maps: {error}.")
                break
        return worked

    def _span(self, stops: Stops) -> InputPlane:
        third = stops.third.x if stops.third is not None else None
        live = stops.scene.live
        few = max(16, NUMBERS // max(1, nesting.first(live.x)[0].numel()))
        others = None if third is not None else fed(stops.scene.model, live.batch(list(range(min(few, len(live))))))
        return InputPlane(stops.look, stops.start.x, stops.end.x, third, others)

    def _plane(self, kept: dict[Any, Any], stops: Stops, drawing: MorphResults) -> Iterator[tuple[bool, str]]:
        try:
            plane = self._span(stops)
        except NotApplicable as error:
            drawing.notes.append(f"There is no plane: {error}.")
            return
        extent = _extent(plane, parsed(self.path))
        size = 8 if self.resolution is None else max(6, self.resolution // 3)
        last = self.resolution
        while True:
            known = ("plane", stops.mark, size, self.third, extent)
            values, seconds = kept.pop(known, (None, 0.0))
            fresh = values is None
            if values is None:
                began = time.perf_counter()
                values = _values(stops.look, plane, extent, size)
                seconds = time.perf_counter() - began
            kept[known] = values, seconds
            if last is None:
                last = max(size, min(36, int(size * math.sqrt(SECONDS / max(seconds, 1e-6))) // 4 * 4))
            drawing.plane, drawing.field, drawing.extent = plane, values, extent
            yield fresh, f"the plane, {size * size:,} places"
            if size >= last:
                return
            size = last


def _extent(plane: InputPlane, drawn: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """What the plane shows: start, end, the third place and the drawn way, with room around them."""
    whole = [(-0.25, -0.6), (1.25, 0.6), *drawn, *([plane.third] if plane.third is not None else [])]
    x, y = (np.array([place[k] for place in whole]) for k in range(2))
    found = (x.min(), x.max(), y.min(), y.max())
    room = 0.1
    return tuple(round(float(v) + (room if k % 2 else -room) * (len(whole) > 2), 4) for k, v in enumerate(found))  # type: ignore[return-value]


def _values(look: Look, plane: InputPlane, extent: tuple[float, float, float, float], size: int) -> NDArray[np.float32]:
    """The answers on a grid, (size, size, answers), the lowest y first."""
    x, y = np.linspace(*extent[:2], size), np.linspace(*extent[2:], size)
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    found = torch.cat([answers(look, scores, plane.way.at) for scores in plane.scores(grid)])
    return found.reshape(size, size, -1).numpy()
