"""Feature ablation: leave out one part at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from ..black_box import BlackBox
from ..patches import BATCH


class FeatureAblation(BlackBox):
    """How much the target drops when one part of the input is left out.

    *Cost* one forward pass a part.
    """

    source: ClassVar[str] = "Captum, FeatureAblation"

    def explain(self, run: Callable[[Tensor], Tensor], present: Tensor) -> Tensor:
        """Leave out each part by itself."""
        from captum.attr import FeatureAblation as Captum

        found: Tensor = Captum(run).attribute(present, perturbations_per_eval=BATCH)
        return found
