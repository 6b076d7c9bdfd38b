"""Shapley values by sampling orders in which parts come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from ...core.knobs import knob
from ..black_box import BlackBox
from ..patches import BATCH


class ShapleySampling(BlackBox):
    """Each part's mean gain for the target when it comes in, over random orders of the parts.

    *Error* falls with the square root of ``samples``; the parts' values sum to the whole change in any case, and
    ``checks`` says how nearly.
    *Cost* one forward pass a part and sample.
    """

    source: ClassVar[str] = (
        "Castro, Gómez and Tejada, Polynomial calculation of the Shapley value based on sampling, 2009; Captum"
    )
    sums: ClassVar[bool] = True

    samples: int = knob(20, "Random orders that are averaged.", low=1, high=10000, main=True)

    def passes(self, parts: int) -> int:
        """One a part and sample."""
        return parts * self.samples + 1

    def explain(self, run: Callable[[Tensor], Tensor], present: Tensor) -> Tensor:
        """Let the parts come in one by one, in many orders."""
        from captum.attr import ShapleyValueSampling as Captum

        found: Tensor = Captum(run).attribute(present, n_samples=self.samples, perturbations_per_eval=BATCH)
        return found
