"""Feature maps, weighted place by place."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ...data.nesting import Nested
from ...model.targets import Target
from ..class_activation import ClassActivation
from ..maps import Maps
from ..method import Look


class LayerCam(ClassActivation):
    """Where the last feature maps speak for the target, each place of a map weighted by its own positive slope.

    *Meaning* sharper than one weight a map, and usable at early layers too.
    The layer is the last one with maps, found from shapes: feature maps, a vision transformer's tokens on their grid, or
    the steps of a sequence; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* one forward pass, and a backward pass down to the layer alone.
    *Raises* NotApplicable for a model without maps.
    *Source* Jiang et al. 2021, equations 4 and 5.
    """

    title: ClassVar[str] = "LayerCAM"
    source: ClassVar[str] = "Jiang, Zhang, Hou, Cheng, Wei 2021 (LayerCAM, IEEE TIP 30), equations 4 and 5"

    def heat(self, maps: Maps, look: Look, x: Nested, target: Target) -> Tensor:
        """Weigh each place by its positive slope."""
        return (maps.slopes.clamp_min(0) * maps.activations).sum(1).clamp_min(0)
