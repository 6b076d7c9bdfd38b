"""Every unit's incoming weights as a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...core.colour import Limits, symmetric
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Group, Heatmap, Node, Tiles
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, spoken, unit_key
from ...data.kinds import Tokens
from ...scene import Scene
from .. import scales
from ..kernels import LayerKernels, kernel
from ..similar_units import Grouping, alike, grouped
from ..units import main_layers, responses
from ..view import View

Floats = NDArray[np.floating]
MANY = 48
_READ = {
    "filters": "Blue pixels push it up, orange pull it down. ",
    "gates": "Blue weights push it up, orange pull it down. ",
    "rows": "Blue weights push it up, orange pull it down. ",
}


class WeightsView(View):
    """What leads into each unit: its filter, or its weights in the shape of the image that it looks at.

    *Meaning* blue weights push the unit up where the input is bright, orange ones pull it down; paper does nothing. The
    scale is the same at every step of the training, so that a stronger colour is a larger weight.
    *Shapes* a picture a unit; dense layers that do not look at an image are a matrix, one row a unit.
    *Error* the mean silhouette (1 clear groups, 0 none) says how far to believe the groups.
    """

    title = "Weights"
    question = "What does each unit look for in its input?"
    family = "features"
    papers = ("Animated weight pictures over training",)
    rows = ("C15", "C18")
    by_labels = True
    needs = "snapshot"
    follows = ("layer", "unit")

    layer: str | None = knob(
        None, "The layer; else the chosen one, else the first with weights.", kind="layer", main=True
    )
    sort: str = knob(
        "index", "Order of the units: by number, by the size of their weights, alike ones together, or by the class "
        "that they respond to most.", choices=("index", "norm", "similarity", "class"), main=True,
    )
    normalise: bool = knob(False, "Give each unit a scale of its own, so that the shapes of weak ones show.")
    channel: int | None = knob(
        None, "One input channel of the filters; their mean (colours for three) when left open.", low=0, kind="integer"
    )
    group: str = knob(
        "auto", "Put alike units into groups; auto does so beyond 48 units.", choices=("auto", "yes", "no")
    )
    limit: int = knob(256, "The most units that are shown.", low=1, high=2048)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture: the weights are all there is to look at."""
        found = kernel(scene, self.layer, selection)
        images, coloured, seen = self._images(found)
        if self.normalise:
            images = images / _peak(images).reshape(-1, *([1] * (images.ndim - 1)))
        order, why = self._order(scene, found)
        cut = order[: self.limit]
        limits, scaled = self._limits(scene, found, images, coloured)
        draw = _Sheet(scene, found, images, limits, coloured)
        groups = self._groups(found, cut)
        checks: tuple[Check, ...] = ()
        body: Node
        if groups is not None:
            children = [
                draw.mark(units, f"group {k + 1} · {len(units)} units") for k, units in enumerate(groups.members)
            ]
            body = Group(children=tuple(children))
            sentence = "How clearly the groups stand apart: 1 wholly, 0 not at all."
            checks = (
                Check(name="silhouette", value=groups.silhouette, sentence=sentence, good=groups.silhouette > 0.25),
            )
        else:
            body = draw.mark(cut, spoken(found.layer))
        shape = "square" if found.form != "rows" else "row"
        caption = f"Each {shape} is one {'token' if found.tokens else 'unit'} of {spoken(found.layer)}: {seen}. "
        caption += (
            "Its colours are those it looks for: red, green and blue weights, grey is zero. "
            if coloured
            else _READ[found.form]
        )
        note = f"{len(cut)} of {len(order)} units shown" if len(cut) < len(order) else ""
        yield self.picture(
            scene, selection, f"Weights of {spoken(found.layer)}", body, caption + why + scaled, checks=checks, note=note
        )

    def _images(self, found: LayerKernels) -> tuple[Floats, bool, str]:
        """One image (or row) a unit, whether it has colours, and what it is."""
        values, words = found.values, found.words
        if found.form != "filters":
            return values, False, words
        channels = values.shape[1]
        if self.channel is not None:
            if self.channel >= channels:
                raise NotApplicable(f"{found.layer} has input channels 0 to {channels - 1}, not {self.channel}")
            return values[:, self.channel], False, words.partition(", mean")[0] + f", channel {self.channel}"
        if channels == 3:
            return np.moveaxis(values, 1, 3), True, words
        return values.mean(1), False, words + (", shown as their mean" if channels > 1 and "mean" not in words else "")

    def _order(self, scene: Scene, found: LayerKernels) -> tuple[NDArray[np.int64], str]:
        units = np.arange(found.units)
        rows = np.nan_to_num(found.rows())
        if self.sort == "norm":
            return np.argsort(-np.linalg.norm(rows, axis=1), kind="stable"), "Largest weights first. "
        if self.sort == "similarity":
            return alike(rows), "Alike units stand together. "
        if self.sort == "class":
            best = self._favourite(scene, found)
            return np.lexsort((units, best)), "Ordered by the class to which each unit responds most. "
        return units, ""

    def _favourite(self, scene: Scene, found: LayerKernels) -> NDArray[np.int64]:
        """The class for whose examples each unit responds most on average."""
        if scene.table is None:
            raise NotApplicable(f"ordering by class needs the model and examples: {scene.missing or 'there are none'}")
        if found.units == len(scene.classes) and found.layer == main_layers(scene)[-1].name:
            return np.arange(found.units)
        if scene.task != "classification" or scene.live.y is None:
            raise NotApplicable(
                "ordering by class needs a classifier and a probe set with the truth; sort by similarity"
            )
        one = next((one for one in main_layers(scene) if one.name == found.layer), None)
        if one is None:
            raise NotApplicable(f"{found.layer} does not answer on its own; sort by similarity")
        means = responses(scene, [one])[one.name].mean.numpy()
        truth = scene.reading.truth(scene.live.y).numpy()
        classes = [
            means[truth == k].mean(0) if (truth == k).any() else np.full(means.shape[1], -np.inf)
            for k in range(max(1, truth.max() + 1))
        ]
        best: NDArray[np.int64] = np.stack(classes).argmax(0)
        return best

    def _limits(self, scene: Scene, found: LayerKernels, images: Floats, coloured: bool) -> tuple[Limits, str]:
        if self.normalise:
            return symmetric(images, 1.0), "Each unit has a scale of its own."
        name = f"weights/{found.parameter}/{self.channel}"
        view = dataclasses.replace(self, normalise=False)
        limit, count = scales.over_time(scene, name, lambda at: view._largest(at, found.layer))
        limits = symmetric(images, limit)
        said = (
            f"The scale, ±{limits.high:.2g}, is that of all snapshots."
            if limit and count == len(scene.steps)
            else f"The scale, ±{limits.high:.2g}, is that of {count} of the {len(scene.steps):,} snapshots."
            if limit
            else f"The scale ends at ±{limits.high:.2g}."
        )
        return limits, said

    def _largest(self, scene: Scene, layer: str) -> float:
        images = self._images(kernel(scene, layer, Selection()))[0]
        finite = np.abs(images[np.isfinite(images)])
        return float(finite.max()) if finite.size else 0.0

    def _groups(self, found: LayerKernels, units: NDArray[np.int64]) -> Grouping | None:
        if self.group == "no" or (self.group == "auto" and len(units) <= MANY) or len(units) < 6:
            return None
        return grouped(np.nan_to_num(found.rows()[units]), units)


class _Sheet:
    """Draws some of a layer's units as tiles or as a matrix."""

    def __init__(self, scene: Scene, found: LayerKernels, images: Floats, limits: Limits, coloured: bool) -> None:
        self.found, self.images, self.limits, self.coloured = found, images, limits, coloured
        classes = scene.classes
        self.names = classes if len(classes) == found.units and _is_last(scene, found) else ()
        kind = next(iter(scene.kinds.values()), None)
        if found.tokens and isinstance(kind, Tokens):
            self.names = tuple(kind.token(number) for number in range(found.units))
        if found.parameter.endswith("in_proj_weight"):
            third = found.units // 3
            self.names = tuple(f"{part} {k}" for part in ("query", "key", "value") for k in range(third))
        # Rows that are not units (tokens, queries and keys) can't be chosen as such.
        self.chosen = not found.tokens and not found.parameter.endswith("in_proj_weight")

    def mark(self, units: NDArray[np.int64], title: str) -> Node:
        labels = tuple(self.names[unit] if self.names else str(unit) for unit in units)
        keys = tuple(unit_key(self.found.layer, unit) for unit in units) if self.chosen else ()
        chosen = self.images[units]
        if self.found.form == "rows":
            return Heatmap(
                values=chosen, limits=self.limits, row_labels=labels, row_keys=keys,
                row_title="token" if self.found.tokens else "unit",
                column_title="input", title=title, size=12,
            )
        if self.coloured:
            half = np.nan_to_num(chosen / (2 * self.limits.high)) + 0.5
            return Tiles(
                images=np.rint(np.clip(half, 0, 1) * 255).astype(np.uint8), labels=labels, keys=keys, title=title
            )
        return Tiles(images=chosen, limits=self.limits, labels=labels, keys=keys, title=title)


def _peak(images: Floats) -> Floats:
    """Each unit's largest finite weight, 1 where it has none."""
    peak: Floats = np.nan_to_num(np.abs(images), posinf=0.0).reshape(len(images), -1).max(1)
    return np.where(peak > 0, peak, 1)


def _is_last(scene: Scene, found: LayerKernels) -> bool:
    names = [name for name, array in scene.parameters().items() if array.ndim > 1]
    return found.parameter == names[-1]
