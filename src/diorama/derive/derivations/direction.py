"""The direction among a layer's units that leads from one set of examples to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.selection import Key
from ...methods.cost import Cost
from ...model.directions import FITTED, fitted
from ...scene import Scene
from ...scene.directions import checked_direction, codes
from ...scene.sets import members, words
from ..derivation import Derivation, Plain, Stage


class DirectionDerivation(Derivation):
    """The direction among a layer's units that leads to the examples A from the examples B.

    *Meaning* ``values`` along it are projections minus ``offset``, in units of ``step``: 0 lies half-way between the means of
    both sets, one length is from one mean to the other. ``accuracy`` is that on examples that were left out.
    *Cost* one forward pass an example.
    """

    layer: str = knob("", "The layer whose units it lies among.", kind="layer")
    a: str = knob("", "The examples that it leads to: keys with + between, such as class:0+example:4-9.")
    b: str = knob("", "The examples that it leads from; all others when left out.")
    how: str = knob("means", "The difference of the means, or what a linear probe reads.", choices=FITTED)

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        return Cost(len(scene.live))

    def fits(self, scene: Scene) -> str | None:
        """The layer exists."""
        if scene.missing is None:
            scene.layers[self.layer]
        return scene.missing

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The direction, at once."""
        keys = [[Key.parse(text) for text in each.split("+") if text] for each in (self.a, self.b)]
        first = members(scene, keys[0])
        second = members(scene, keys[1]) if keys[1] else np.setdiff1d(np.arange(len(scene.live)), first)
        second = np.setdiff1d(second, first)
        if not len(first) or not len(second):
            raise NotApplicable("a direction wants at least one of the live examples in both sets")
        told = words(scene, keys[0]), words(scene, keys[1])
        rows = codes(scene, self.layer)
        found = fitted("", self.layer, rows[first], rows[second], self.how, told)  # type: ignore[arg-type]
        yield Stage(dataclasses.asdict(found))

    def check(self, scene: Scene, value: Plain) -> None:
        """A vector of the layer's units, and numbers."""
        checked_direction(scene, self.layer, value)
