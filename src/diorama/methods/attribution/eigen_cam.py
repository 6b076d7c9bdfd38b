"""What the feature maps have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...data.nesting import Nested
from ...model.targets import Target
from ..cost import Cost
from ..maps import mapped, missing, passes, spread
from ..method import Attribution, Group, Looking, Method


class EigenCam(Method):
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

    group: ClassVar[Group] = "class activation"
    title: ClassVar[str] = "Eigen-CAM"
    source: ClassVar[str] = "Muhammad, Yeasin 2020 (arXiv:2008.00299), equations 3 and 4"
    signed: ClassVar[bool] = False

    layer: str | None = knob(
        None, "The layer whose maps are used; the last one that has maps by default.", kind="layer"
    )

    def cost(self, look: Looking, x: Nested) -> Cost:
        """No way back where the layer is known."""
        return passes(look, x, self.layer, sloping=False)

    @classmethod
    def fits(cls, look: Looking, x: Nested) -> str | None:
        """It needs a layer with maps."""
        return missing(look, x, cls.name, None)

    def attribute(self, look: Looking, x: Nested, target: Target) -> Iterator[Attribution]:
        """Project on the first singular vector."""
        reason = missing(look, x, self.name, self.layer)
        if reason is not None:
            raise NotApplicable(reason)
        maps = mapped(look, x, target, self.layer, sloping=False)
        rows = maps.activations.flatten(2).transpose(1, 2)
        fine = torch.nan_to_num(rows.float())
        direction = torch.linalg.svd(fine, full_matrices=False)[2][:, :1]
        along = (fine * direction).sum(2)
        turned = along * along.sum(1, keepdim=True).sign()
        heat = turned.clamp_min(0).reshape(len(rows), *maps.activations.shape[2:]).to(rows.dtype)
        yield self.found(look, x, target, spread(look, x, heat), maps.value, note=maps.note, maps={"map": heat})
