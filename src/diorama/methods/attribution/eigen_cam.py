"""What the feature maps have in common."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ...data.nesting import Nested
from ...model.targets import Target
from ..class_activation import ClassActivation
from ..maps import Maps
from ..method import Look


class EigenCam(ClassActivation):
    """Where the last feature maps agree: their activations projected on the direction that holds most of them.

    *Meaning* it asks no class: the map is the same for every target. The direction is the first right singular vector
    of the activations (places by units, not centred), turned so that most of the map is positive; the rest is cut off.
    The layer is the last one with maps, found from shapes: feature maps, a vision transformer's tokens on their grid, or
    the steps of a sequence; ``maps["map"]`` is its map as it is.
    *Shapes* as the input: the map is interpolated to it, and shared evenly by the channels of a place.
    *Cost* one forward pass and a decomposition of the maps; a backward pass more where tokens of several layers could be
    the maps.
    *Raises* NotApplicable for a model without maps.
    *Source* Muhammad and Yeasin 2020, equations 3 and 4.
    """

    title: ClassVar[str] = "Eigen-CAM"
    source: ClassVar[str] = "Muhammad, Yeasin 2020 (arXiv:2008.00299), equations 3 and 4"
    sloping: ClassVar[bool] = False

    def heat(self, maps: Maps, look: Look, x: Nested, target: Target) -> Tensor:
        """Project on the first singular vector."""
        rows = maps.activations.flatten(2).transpose(1, 2)
        fine = torch.nan_to_num(rows.float())
        direction = torch.linalg.svd(fine, full_matrices=False)[2][:, :1]
        along = (fine * direction).sum(2)
        turned = along * along.sum(1, keepdim=True).sign()
        heat: Tensor = turned.clamp_min(0).reshape(len(rows), *maps.activations.shape[2:]).to(rows.dtype)
        return heat
