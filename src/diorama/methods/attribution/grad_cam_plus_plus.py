"""Feature maps, each weighted by its positive slopes, so that every object of a class counts."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ...data.nesting import Nested
from ...model.targets import Target
from ..class_activation import ClassActivation
from ..maps import Maps, places_of
from ..method import Look


class GradCamPlusPlus(ClassActivation):
    """Where the last feature maps speak for the target, weighted so that several and small objects of a class count too.

    *Meaning* a map's weight is the sum of its positive slopes, each weighted by how much of the target it carries. The
    paper's exponential of the score multiplies every weight of an example alike, and is left out.
    The layer is the last one with maps, found from shapes: feature maps, a vision transformer's tokens on their grid, or
    the steps of a sequence; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* one forward pass, and a backward pass down to the layer alone.
    *Raises* NotApplicable for a model without maps.
    *Source* Chattopadhay et al. 2018, equations 5 and 19.
    """

    title: ClassVar[str] = "Grad-CAM++"
    source: ClassVar[str] = (
        "Chattopadhay, Sarkar, Howlader, Balasubramanian 2018 (arXiv:1710.11063), equations 5 and 19"
    )

    def heat(self, maps: Maps, look: Look, x: Nested, target: Target) -> Tensor:
        """Weigh each map by its weighted positive slopes."""
        a, g = maps.activations, maps.slopes
        places = places_of(g)
        below = 2 * g**2 + a.sum(places, keepdim=True) * g**3
        share = g**2 / below.where(below != 0, 1)
        weights = (share * g.clamp_min(0)).sum(places, keepdim=True)
        return (weights * a).sum(1).clamp_min(0)
