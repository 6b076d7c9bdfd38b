"""The last feature maps, each weighted by the target's answer to the input seen through it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..batches import together
from ..class_activation import ClassActivation
from ..cost import Cost
from ..maps import Maps, candidates, resized
from ..method import Look
from ..patches import BATCH


class ScoreCam(ClassActivation):
    """The last feature maps, each weighted by the target when only what the map marks is left of the input.

    *Meaning* no gradients: every map, scaled to 0..1 and interpolated to the input, masks it; the weights are the
    softmax over the maps of the target's values; the weighted sum is cut off at zero. Constant maps get no weight.
    The layer is found as for ``grad_cam``; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* one forward pass for each unit of the layer.
    *Raises* NotApplicable for a model without maps.
    *Source* Wang et al. 2020, algorithm 1.
    """

    title: ClassVar[str] = "Score-CAM"
    compares: ClassVar[bool] = True
    source: ClassVar[str] = "Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu 2020 (arXiv:1910.01279), algorithm 1"
    sloping: ClassVar[bool] = False

    def cost(self, look: Look, x: Nested) -> Cost:
        """A forward pass a unit."""
        tried = (look.layers[self.layer],) if self.layer is not None else candidates(look, x)
        one = super().cost(look, x) if tried else Cost(1)
        return Cost(one.forward + (tried[0].units if tried else 0), one.backward)

    def heat(self, maps: Maps, look: Look, x: Nested, target: Target) -> Tensor:
        """Ask the model about the input seen through each map."""
        points = tuple(point.detach() for point in look.points(x))
        a = maps.activations
        low, high = (
            end(seen.flatten(2), 2).reshape(*a.shape[:2], *[1] * (a.ndim - 2))
            for seen, end in ((_elsewhere(maps, torch.inf), torch.amin), (_elsewhere(maps, -torch.inf), torch.amax))
        )
        masks = (a - low) / (high - low).where(high > low, 1)
        masks = masks if maps.own is None else masks.masked_fill(~maps.own[:, None], 1)  # padding stays as it is
        units = a.shape[1]
        at_once = max(1, together(look, x, BATCH) // len(a))
        answers = []
        for first in range(0, units, at_once):
            chunk = range(first, min(first + at_once, units))
            seen = tuple(torch.cat([_through(part, masks[:, k]) for k in chunk]) for part in points)
            answers.append(
                look.run(nesting.join([x] * len(chunk)), target, seen).value.detach().reshape(len(chunk), -1)
            )
            look.progress(chunk[-1] + 1, units, f"{chunk[-1] + 1} of {units} maps")
        flat = (high <= low).flatten(1)
        weights = torch.cat(answers).T.masked_fill(flat, -torch.inf).softmax(1)
        weights = torch.nan_to_num(weights) if bool(flat.all(1).any()) else weights
        return (weights.reshape(*weights.shape, *[1] * (a.ndim - 2)) * a).sum(1).clamp_min(0)


def _elsewhere(maps: Maps, value: float) -> Tensor:
    """A layer's maps with a value at the places that are not the example's own."""
    return maps.activations if maps.own is None else maps.activations.masked_fill(~maps.own[:, None], value)


def _through(part: Tensor, mask: Tensor) -> Tensor:
    """A part of the input seen through a mask (n, places); parts with other places are left as they are."""
    places = mask.ndim - 1
    if part.ndim != places + 2:
        return part
    if places == 1 and mask.shape[1] == part.shape[1]:
        return part * mask[..., None]
    return part * resized(mask, tuple(part.shape[2:]))[:, None]
