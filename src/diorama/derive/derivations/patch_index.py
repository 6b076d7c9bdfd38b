"""What a layer makes of every patch of many pictures, as a graph in which the nearest are found."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.knobs import knob
from ...data.examples import Examples
from ...data.nesting import to
from ...methods.cost import Cost
from ...model.nearest_index import Index, directed
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.other_data import prepared
from ..derivation import Derivation, Plain, Stage

BATCH = 64
PART = 16_384
"""So many patches are taken in before what was done can be kept, and an eighth of those that are there."""


class PatchIndexDerivation(Derivation):
    """What a layer makes of every patch of many pictures, as a graph in which the nearest are found.

    *Meaning* ``graph`` holds the features of each place, brought to length one, and who is near to whom
    (:class:`diorama.model.nearest_index.Index` reads it); place ``p`` of example ``n`` has the number ``n`` times the places, plus ``p``.
    ``places`` tells how many lie in a column and in a row of the layer's maps.
    *Error* some of the true nearest are missed; ``Index.recall`` measures how many are found.
    *Cost* one pass an example up to the layer; about a second for 10,000 places.
    *Source* Malkov & Yashunin 2016, arXiv:1603.09320.
    """

    on = "weights"
    """And at the examples that it takes in, which its material names."""
    believed = False
    """A graph leads from number to number, and whoever made it decides where to."""

    layer: str = knob("", "A layer with maps.", kind="layer")
    rectified: bool = knob(False, "The features are taken behind the ReLU that follows.")
    examples: int = knob(100_000, "So many examples, the first ones.", low=1)
    given: Examples | None = dataclasses.field(default=None, compare=False, repr=False)
    """Examples in place of the probe set."""

    def fits(self, scene: Scene) -> str | None:
        """The layer has places of a picture."""
        if scene.missing is None and not scene.layers[self.layer].spatial:
            return f"{self.layer} keeps no places of the picture; choose a layer with maps"
        return scene.missing

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        return Cost(self._count(scene))

    def material(self, scene: Scene) -> dict[str, Any]:
        """The examples, and who made the graph: another version of the library may lay it out anew."""
        return {"examples": self._all(scene).fingerprint, "usearch": version("usearch")}

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The patches of some examples at a time; the state is the graph itself."""
        count, began = self._count(scene), time.perf_counter()
        shape = [int(side) for side in self._maps(scene, range(1)).shape[2:]]
        places, units = math.prod(shape), scene.layers[self.layer].units
        index, first = (Index(units), 0) if begun is None else (Index.of(begun["graph"], units), int(begun["examples"]))
        since = len(index)
        for start in range(first, count, BATCH):
            end = min(start + BATCH, count)
            maps = self._maps(scene, range(start, end))
            index.add(directed(maps.flatten(2).transpose(1, 2)).flatten(0, 1), start * places)
            state = None
            if len(index) - since >= max(PART, since // 8) and end < count:
                # Read again in any case: a graph draws its levels anew then, and one that was stopped here must come out the same.
                graph = index.packed()
                index, since = Index.of(graph, units), len(index)
                state = _state(graph, end)
            left = (time.perf_counter() - began) / (end - first) * (count - end)
            value = {"graph": index.packed(), "places": shape} if end == count else None
            yield Stage(value, end, count, "patches taken into an index", left, state)

    def check(self, scene: Scene, value: Plain) -> None:
        """A graph of as many patches as the examples have, and of as many units as the layer."""
        if set(value) != {"graph", "places"}:
            raise ValueError("a graph and the number of places are wanted")
        graph, shape = value["graph"], value["places"]
        if not isinstance(graph, np.ndarray) or graph.ndim != 1 or graph.dtype != np.uint8:
            raise ValueError("a graph is a row of bytes")
        if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
            raise ValueError("the sides of a map are wanted")
        if len(Index.of(graph, scene.layers[self.layer].units, more=False)) != self._count(scene) * math.prod(shape):
            raise ValueError("a graph of other examples")

    def _all(self, scene: Scene) -> Examples:
        return scene.examples if self.given is None else self.given

    def _count(self, scene: Scene) -> int:
        return min(self.examples, len(self._all(scene)))

    def _maps(self, scene: Scene, part: range) -> Tensor:
        """The layer's maps of some examples (n, units, …)."""
        x = fed(scene.model, to(prepared(scene, self._all(scene).batch(list(part))), scene.device))
        values = scene.activations([self.layer], x)[self.layer].float()
        return torch.relu(values) if self.rectified else values


def _state(graph: np.ndarray, examples: int) -> Any:
    return lambda: {"graph": graph, "examples": examples}
