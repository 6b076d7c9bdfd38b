"""The last feature maps, weighted as the classifier's head weighs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..maps import halved, mapped, missing, places_of, spread
from ..method import Attribution, Group, Looking, Method, completeness

_ALIKE = 1e-3
_LARGEST_GAP = 0.01


class Cam(Method):
    """How much each place of the last feature maps adds to the target, where the head is pooling and one linear layer.

    *Meaning* the map's places sum to the target minus the head's bias: it is exact, so it is refused for any other head.
    Whether the head is linear is measured: the slopes must be alike at all places, and the same for another input.
    ``checks["completeness"]`` is the gap of that sum.
    The layer is the last one with maps, found from shapes: feature maps, a vision transformer's tokens on their grid, or
    the steps of a sequence; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* two forward passes, and a backward pass down to the layer alone.
    *Raises* NotApplicable for a model without maps.
    *Source* Zhou et al. 2016, equation 2.
    """

    group: ClassVar[Group] = "class activation"
    title: ClassVar[str] = "CAM"
    rows: ClassVar[tuple[str, ...]] = ("A15",)
    demo: ClassVar[str] = ""
    source: ClassVar[str] = "Zhou, Khosla, Lapedriza, Oliva, Torralba 2016 (arXiv:1512.04150), equation 2"
    completeness: ClassVar[bool] = True

    layer: str | None = knob(
        None, "The layer whose maps are used; the last one that has maps by default.", kind="layer"
    )

    @classmethod
    def fits(cls, look: Looking, x: Nested) -> str | None:
        """It needs a layer with maps."""
        return missing(look, x, cls.name, None)

    def attribute(self, look: Looking, x: Nested, target: Target) -> Iterator[Attribution]:
        """Weigh each map as the head does."""
        reason = missing(look, x, self.name, self.layer)
        if reason is not None:
            raise NotApplicable(reason)
        maps = mapped(look, x, target, self.layer)
        # The head is measured on finite numbers, also where the input holds others.
        fine = nesting.each(x, lambda part: torch.nan_to_num(part, 0.0, 0.0, 0.0))
        here = maps if bool(torch.isfinite(maps.activations).all()) else mapped(look, fine, target, self.layer)
        other = mapped(look, halved(fine), target, self.layer)
        even = here.slopes.mean(places_of(here.slopes), keepdim=True)
        scale = float(here.slopes.abs().max())
        bias = other.value - (even * other.activations).flatten(1).sum(1)
        gap = completeness((even * here.activations).sum(1), here.value - bias)
        apart = max(float((found - even).abs().max()) for found in (here.slopes, other.slopes))
        if apart > _ALIKE * scale or gap > _LARGEST_GAP:
            raise NotApplicable("cam is exact only where pooling and one linear layer follow the maps; use grad_cam")
        heat = (even * maps.activations).sum(1)
        yield self.found(
            look,
            x,
            target,
            spread(look, x, heat),
            maps.value,
            note=maps.note,
            checks={"completeness": gap},
            maps={"map": heat},
        )
