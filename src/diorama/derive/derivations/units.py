"""The units as points: near each other where they answer to the same examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...core.code import written
from ...core.errors import NotApplicable
from ...core.knobs import build, knob
from ...core.registry import projections
from ...core.selection import several
from ...methods.correlation import Comoments, as_rows, mutual_rank, served
from ...methods.cost import Cost
from ...methods.placement import Floats, laid_onto, placements, usable
from ...scene import Scene
from ...scene.directions import codes, default_layer
from ...scene.rows import unrowed
from ...scene.sets import classes_of
from ..derivation import Plain, Stage
from ..snapshot_chain import SnapshotChain

MOST = 1000
"""Of more units evenly chosen ones are placed: every so manieth, the same at each step."""
BLOCK = 256
"""Examples that are taken in at once."""


class UnitsDerivation(SnapshotChain):
    """The units of a layer, or of several, as points: near each other where they answer to the same examples.

    *Meaning* ``points`` (units, dimensions); ``correlation`` is Pearson's, over the live examples, of a unit's mean over all places;
    ``serves`` is how much more each unit answers to each class than on average, in its standard deviations; ``layer`` (an index among
    the layers) and ``unit`` say which each is. A map follows the training, as that of examples does.
    *Shapes* (units, dimensions), (units, units), (units, classes), (units,), (units,).
    *Cost* one forward pass an example, then what the algorithm takes.
    *Source* Rauber et al. 2017 (neuron projections); Obayashi & Kinoshita 2009 (mutual rank).
    """

    layer: str | None = knob(None, "The layer, or several with + between; by itself the last before the answer.", kind="layer")
    method: str = knob("mds", "The algorithm, one of diorama.projections.")
    dimensions: int = knob(2, "So many numbers a unit.", low=2, high=3)
    by: str = knob(
        "pearson", "What makes units alike: their correlation, or how high each stands in the other's list.",
        choices=("pearson", "mutual rank"),
    )

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Self:
        """A layer that was not named is, so that it is the same at all snapshots on the way."""
        made: Self = build(cls, options)
        return made if made.layer or scene.missing is not None else dataclasses.replace(made, layer=default_layer(scene).name)

    def fits(self, scene: Scene) -> str | None:
        """It needs layers that answer once an example."""
        return scene.missing or unrowed(scene, self.layers(scene))

    @property
    def algorithm(self) -> str:
        """The code of a third party's method."""
        return written(projections[self.method])

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        return Cost(len(scene.live))

    def layers(self, scene: Scene) -> list[str]:
        """The layers by their full names."""
        wanted = self.layer or default_layer(scene).name
        return [scene.layers[name].name for name in ([wanted] if wanted in scene.layers.names else several(wanted))]

    def chosen(self, scene: Scene) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which units are placed: the layer of each, as an index, and its number in it."""
        sizes = [codes(scene, name).shape[1] for name in self.layers(scene)]
        layer = np.repeat(np.arange(len(sizes)), sizes)
        unit = np.concatenate([np.arange(size) for size in sizes])
        if len(unit) > MOST:
            kept = np.unique(np.linspace(0, len(unit) - 1, MOST).round().astype(np.int64))
            layer, unit = layer[kept], unit[kept]
        return layer.astype(np.int64), unit.astype(np.int64)

    def answers(self, scene: Scene) -> Floats:
        """What each placed unit answers to each live example, (examples, units)."""
        parts = [codes(scene, name) for name in self.layers(scene)]
        if any(len(part) != len(scene.live) for part in parts):
            raise NotApplicable("a map of units wants layers that answer once for each example")
        layer, unit = self.chosen(scene)
        return np.concatenate([part[:, unit[layer == index]] for index, part in enumerate(parts)], 1)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The points as the algorithm places them."""
        answers = self.answers(scene)
        gathered = Comoments(answers.shape[1])
        for first in range(0, len(answers), BLOCK):
            gathered.add(answers[first : first + BLOCK])
        correlation = gathered.pearson()
        apart = np.sqrt(np.maximum(0, 2 - 2 * correlation)) if self.by == "pearson" else mutual_rank(correlation)
        rows = as_rows(apart)
        classes = classes_of(scene)
        count = len(scene.classes) if classes is not None and classes.ndim == 1 else 0
        layer, unit = self.chosen(scene)
        told = {
            "correlation": correlation.astype(np.float32),
            "serves": served(answers, np.asarray(classes), count) if count else np.zeros((len(unit), 0)),
            "layer": layer, "unit": unit,
        }
        start = np.asarray(before["points"], np.float64) if before is not None else None
        if start is not None and start.shape != (len(rows), self.dimensions):
            start = None  # the layer has grown
        for placed in placements(self._algorithm(len(rows), rows.shape[1]), rows, self.dimensions, start, begun):
            points = placed.points
            if start is not None and usable(start) is not None:
                points = laid_onto(points, start)
            yield Stage({"points": points, **told}, placed.done, placed.total, placed.note, state=placed.state)

    def _algorithm(self, count: int, columns: int) -> Any:
        """The algorithm; what wants more units than there are gives way to distances as they are."""
        few = count < 5 or (self.method == "pca" and min(count, columns) < self.dimensions)
        return build(projections["mds" if few else self.method], {})

    def check(self, scene: Scene, value: Plain) -> None:
        """A point, a row of correlations and one of classes for each unit."""
        layer, unit = self.chosen(scene)
        count = len(unit)
        wanted = {"points": (count, self.dimensions), "correlation": (count, count), "layer": (count,), "unit": (count,)}
        if not isinstance(value, dict) or set(value) != {*wanted, "serves"}:
            raise ValueError("not what is told of units")
        for name, shape in wanted.items():
            array = value[name]
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != ("i" if name in ("layer", "unit") else "f"):
                raise ValueError(f"{name} of another shape")
        serves = value["serves"]
        if not isinstance(serves, np.ndarray) or serves.shape not in ((count, len(scene.classes)), (count, 0)) or serves.dtype.kind != "f":
            raise ValueError("a number for each unit and class is wanted")
        if not (np.array_equal(value["layer"], layer) and np.array_equal(value["unit"], unit)):
            raise ValueError("other units")
