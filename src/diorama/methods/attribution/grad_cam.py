"""Feature maps, each weighted by its mean slope."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ...data.nesting import Nested
from ...model.targets import Target
from ..class_activation import ClassActivation
from ..maps import Maps
from ..method import Look


class GradCam(ClassActivation):
    """Where the last feature maps speak for the target: each map weighted by the target's mean slope along it.

    *Meaning* the weighted sum of the maps, cut off at zero: what speaks against the target is left out.
    The layer is the last one with maps, found from shapes: feature maps, a vision transformer's tokens on their grid, or
    the steps of a sequence; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* one forward pass, and a backward pass down to the layer alone.
    *Raises* NotApplicable for a model without maps.
    *Source* Selvaraju et al. 2017, equations 1 and 2.
    """

    title: ClassVar[str] = "Grad-CAM"
    rows: ClassVar[tuple[str, ...]] = ("A15",)
    source: ClassVar[str] = (
        "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017 (arXiv:1610.02391), equations 1 and 2"
    )

    def heat(self, maps: Maps, look: Look, x: Nested, target: Target) -> Tensor:
        """Weigh each map by its mean slope."""
        return (maps.weights * maps.activations).sum(1).clamp_min(0)
