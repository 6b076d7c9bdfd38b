"""Kernel SHAP: Shapley values by one weighted regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from ...core.knobs import knob
from ..black_box import BlackBox
from ..patches import BATCH


class KernelShap(BlackBox):
    """Shapley values of the parts, from a linear model fitted to answers for random sets of parts.

    *Error* exact where all sets are tried; else falls with ``samples``. ``checks`` says how nearly the values sum to
    the whole change.
    *Cost* one forward pass a sample.
    """

    rows: ClassVar[tuple[str, ...]] = ("A18",)
    source: ClassVar[str] = (
        "Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017, theorem 2; Captum"
    )
    sums: ClassVar[bool] = True

    samples: int = knob(500, "Random sets of parts that are asked for.", low=2, high=100000, log=True, main=True)

    def passes(self, parts: int) -> int:
        """One a sample."""
        return self.samples

    def explain(self, run: Callable[[Tensor], Tensor], present: Tensor) -> Tensor:
        """Fit the weighted linear model."""
        from captum.attr import KernelShap as Captum

        found: Tensor = Captum(run).attribute(present, n_samples=self.samples, perturbations_per_eval=BATCH)
        return found
