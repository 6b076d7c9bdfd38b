"""Feature maps, each weighted by its mean slope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...data.nesting import Nested
from ...model.targets import Target
from ..maps import mapped, missing, places_of, spread
from ..method import Attribution, Group, Looking, Method


class GradCam(Method):
    """Where the last feature maps speak for the target: each map weighted by the target's mean slope along it.

    *Meaning* the weighted sum of the maps, cut off at zero: what speaks against the target is left out.
    The layer is the last one with maps, found from shapes: feature maps, a vision transformer's tokens on their grid, or
    the steps of a sequence; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* one forward pass, and a backward pass down to the layer alone.
    *Raises* NotApplicable for a model without maps.
    *Source* Selvaraju et al. 2017, equations 1 and 2.
    """

    group: ClassVar[Group] = "class activation"
    title: ClassVar[str] = "Grad-CAM"
    rows: ClassVar[tuple[str, ...]] = ("A15",)
    source: ClassVar[str] = (
        "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017 (arXiv:1610.02391), equations 1 and 2"
    )
    signed: ClassVar[bool] = False

    layer: str | None = knob(
        None, "The layer whose maps are used; the last one that has maps by default.", kind="layer"
    )

    @classmethod
    def fits(cls, look: Looking, x: Nested) -> str | None:
        """It needs a layer with maps."""
        return missing(look, x, cls.name, None)

    def attribute(self, look: Looking, x: Nested, target: Target) -> Iterator[Attribution]:
        """Weigh each map by its mean slope."""
        reason = missing(look, x, self.name, self.layer)
        if reason is not None:
            raise NotApplicable(reason)
        maps = mapped(look, x, target, self.layer)
        weights = maps.slopes.mean(places_of(maps.slopes), keepdim=True)
        heat = (weights * maps.activations).sum(1).clamp_min(0)
        yield self.found(look, x, target, spread(look, x, heat), maps.value, note=maps.note, maps={"map": heat})
