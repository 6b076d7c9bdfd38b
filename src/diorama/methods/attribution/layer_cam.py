"""Feature maps, weighted place by place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...data.nesting import Nested
from ...model.targets import Target
from ..maps import mapped, missing, spread
from ..method import Attribution, Group, Looking, Method


class LayerCam(Method):
    """Where the last feature maps speak for the target, each place of a map weighted by its own positive slope.

    *Meaning* sharper than one weight a map, and usable at early layers too.
    The layer is the last one with maps, found from shapes: feature maps, a vision transformer's tokens on their grid, or
    the steps of a sequence; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* one forward pass, and a backward pass down to the layer alone.
    *Raises* NotApplicable for a model without maps.
    *Source* Jiang et al. 2021, equations 4 and 5.
    """

    group: ClassVar[Group] = "class activation"
    title: ClassVar[str] = "LayerCAM"
    source: ClassVar[str] = "Jiang, Zhang, Hou, Cheng, Wei 2021 (LayerCAM, IEEE TIP 30), equations 4 and 5"
    signed: ClassVar[bool] = False

    layer: str | None = knob(
        None, "The layer whose maps are used; the last one that has maps by default.", kind="layer"
    )

    @classmethod
    def fits(cls, look: Looking, x: Nested) -> str | None:
        """It needs a layer with maps."""
        return missing(look, x, cls.name, None)

    def attribute(self, look: Looking, x: Nested, target: Target) -> Iterator[Attribution]:
        """Weigh each place by its positive slope."""
        reason = missing(look, x, self.name, self.layer)
        if reason is not None:
            raise NotApplicable(reason)
        maps = mapped(look, x, target, self.layer)
        heat = (maps.slopes.clamp_min(0) * maps.activations).sum(1).clamp_min(0)
        yield self.found(look, x, target, spread(look, x, heat), maps.value, note=maps.note, maps={"map": heat})
