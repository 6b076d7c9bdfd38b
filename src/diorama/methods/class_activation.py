"""What all class activation maps share: a layer with maps, and a map of heat made from it."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor

from ..core.errors import NotApplicable
from ..core.knobs import knob
from ..data.nesting import Nested
from ..model.targets import Target
from .cost import Cost
from .maps import Maps, mapped, missing, passes, spread
from .method import Attribution, Group, Look, Method


class ClassActivation(Method):
    """A method that puts together a layer's maps, (n, units, places), to one map of heat, (n, places)."""

    group: ClassVar[Group] = "class activation"
    signed: ClassVar[bool] = False
    sloping: ClassVar[bool] = True
    """Whether it reads the target's slopes along the maps."""

    layer: str | None = knob(
        None, "The layer whose maps are used; the last one that has maps by default.", kind="layer"
    )

    @classmethod
    def fits(cls, look: Look, x: Nested) -> str | None:
        """It needs a layer with maps."""
        return missing(look, x, cls.name, None)

    def cost(self, look: Look, x: Nested) -> Cost:
        """A pass there, and back where slopes are read or the layer is not known."""
        return Cost(1, 1) if self.sloping else passes(look, x, self.layer, sloping=False)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """Make the heat, and lay it over the input."""
        maps = self.maps(look, x, target)
        checks = self.checks(maps, look, x, target)
        heat = self.heat(maps, look, x, target)
        values = spread(look, x, heat)
        summed = heat.flatten(1).sum(1) if self.completeness else None
        yield self.found(
            look, x, target, values, maps.value, note=maps.note, checks=checks, maps={"map": heat}, summed=summed
        )

    def maps(self, look: Look, x: Nested, target: Target) -> Maps:
        """The maps of the chosen layer. *Raises* NotApplicable for a layer or a model without maps."""
        reason = missing(look, x, self.name, self.layer)
        if reason is not None:
            raise NotApplicable(reason)
        return mapped(look, x, target, self.layer, sloping=self.sloping)

    @abc.abstractmethod
    def heat(self, maps: Maps, look: Look, x: Nested, target: Target) -> Tensor:
        """One map an example, (n, places)."""

    def checks(self, maps: Maps, look: Look, x: Nested, target: Target) -> dict[str, float]:  # noqa: ARG002 - for those that have some
        """Numbers that say how far to believe it. *Raises* NotApplicable where the heat would mean nothing."""
        return {}
