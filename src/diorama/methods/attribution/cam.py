"""The last feature maps, weighted as the classifier's head weighs them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..class_activation import ClassActivation
from ..cost import Cost
from ..maps import Maps, halved, mapped
from ..method import Look, completeness

_ALIKE = 1e-3
_LARGEST_GAP = 0.01


class Cam(ClassActivation):
    """How much each place of the last feature maps adds to the target, where the head is pooling and one linear layer.

    *Meaning* the map's places sum to the target minus the head's bias: it is exact, so it is refused for any other head.
    Whether the head is linear is measured: the slopes must be alike at all places, and the same for another input.
    ``checks["completeness"]`` is the gap of that sum.
    The layer is the last one with maps, found from shapes: feature maps, a vision transformer's tokens on their grid, or
    the steps of a sequence; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* two forward passes, and two backward passes down to the layer alone.
    *Raises* NotApplicable for a model without maps.
    *Source* Zhou et al. 2016, equation 2.
    """

    title: ClassVar[str] = "CAM"
    rows: ClassVar[tuple[str, ...]] = ("A15",)
    demo: ClassVar[str] = ""
    source: ClassVar[str] = "Zhou, Khosla, Lapedriza, Oliva, Torralba 2016 (arXiv:1512.04150), equation 2"
    completeness: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    def cost(self, look: Look, x: Nested) -> Cost:
        """The head is measured on another input too."""
        return Cost(2, 2)

    def heat(self, maps: Maps, look: Look, x: Nested, target: Target) -> Tensor:
        """Weigh each map as the head does."""
        return (_even(self._measured(maps, look, x, target)) * maps.activations).sum(1)

    def checks(self, maps: Maps, look: Look, x: Nested, target: Target) -> dict[str, float]:
        """Whether the head is linear, and how far the sum is off."""
        here = self._measured(maps, look, x, target)
        other = mapped(look, halved(_fine(x)), target, here.layer.name)  # of another input the target may read other places
        even = _even(here)
        bias = other.value - (even * other.activations).flatten(1).sum(1)
        gap = completeness((even * here.activations).sum(1), here.value - bias)
        apart = max(float((found - even).abs().max()) for found in (here.slopes, other.slopes))
        if apart > _ALIKE * float(here.slopes.abs().max()) or gap > _LARGEST_GAP:
            raise NotApplicable("cam is exact only where pooling and one linear layer follow the maps; use grad_cam")
        return {"completeness": gap}

    def _measured(self, maps: Maps, look: Look, x: Nested, target: Target) -> Maps:
        """The head is measured on finite numbers, also where the input holds others."""
        return maps if bool(torch.isfinite(maps.activations).all()) else mapped(look, _fine(x), target, self.layer)


def _fine(x: Nested) -> Nested:
    return nesting.each(x, lambda part: torch.nan_to_num(part, 0.0, 0.0, 0.0))


def _even(maps: Maps) -> Tensor:
    """One slope a map."""
    return maps.weights if maps.own is None else maps.weights * maps.own[:, None]
