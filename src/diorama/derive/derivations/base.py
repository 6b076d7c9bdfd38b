"""The main directions of a layer's activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from ...core.knobs import knob
from ...methods.cost import Cost
from ...model.directions import BASES, based
from ...model.layers import by_unit
from ...model.own_places import Owners
from ...model.statistics import sampled
from ...scene import Scene
from ...scene.directions import checked_direction
from ..derivation import Derivation, Plain, Stage

PLACES = 16
"""A base is found from at most so many places of each example."""
COUNT = 12
"""So many directions a base has at most."""


class BaseDerivation(Derivation):
    """A layer's main directions: principal components, or parts of which activations are sums.

    *Meaning* ``directions`` in the order of what they hold, and a ``note`` on all together.
    *Cost* one forward pass an example, then a decomposition.
    *Source* Pearson 1901; Lee & Seung 1999.
    """

    version = 2

    layer: str = knob("", "The layer.", kind="layer")
    how: str = knob("pca", "Principal components, or non-negative parts.", choices=BASES)

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        return Cost(len(scene.live))

    def fits(self, scene: Scene) -> str | None:
        """The layer exists."""
        if scene.missing is None:
            scene.layers[self.layer]
        return scene.missing

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The base, at once."""
        layer = scene.layers[self.layer]
        parts: list[Tensor] = []
        owners = Owners(scene.kind)
        for chosen, x in scene.batches():

            def take(name: str, tensor: Tensor, start: int = chosen.start) -> Tensor:
                units = by_unit(layer, tensor).float()
                return owners.each(units, start, lambda part, first: sampled(part, first, PLACES)).cpu()

            parts.append(scene.kept(owners.read(x), [layer.name], reduce=take)[layer.name])
        found, note = based(layer.name, torch.cat(parts).double().numpy(), self.how, COUNT)  # type: ignore[arg-type]
        yield Stage({"directions": [dataclasses.asdict(one) for one in found], "note": note})

    def check(self, scene: Scene, value: Plain) -> None:
        """Vectors of the layer's units."""
        if set(value) != {"directions", "note"} or not isinstance(value["note"], str) or len(value["directions"]) > COUNT:
            raise ValueError("directions and a note are wanted")
        for one in value["directions"]:
            checked_direction(scene, self.layer, one)
