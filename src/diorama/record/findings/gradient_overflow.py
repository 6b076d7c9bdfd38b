"""The finding `gradient_overflow`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, series

if TYPE_CHECKING:
    from ..reader import RunReader


class GradientOverflow(Finding):
    """The gradient scaler's scale keeps falling: gradients overflow again and again, and those steps are left out.

    *Meaning* a few halvings from the first scale down are usual; a scale below 1 says that gradients are infinite or NaN
    whatever it is. It needs ``watch(state=[scaler])``.
    """

    broken = True
    rests = ("loss_scale:2",)
    about = "scaler"

    least: float = knob(1.0, "The scale below which it is told.", low=0.0, log=True)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, scale = series(run, "loss_scale")
        if len(scale) < 2 or not scale[-1] < self.least:
            return []
        with np.errstate(divide="ignore"):
            halved = int(np.round(np.log2(scale.max() / max(scale[-1], 1e-300))))
        first = int(steps[int(np.argmax(scale < self.least))])
        return [Diagnosis(
            self.name, 0.8, "Gradients overflow",
            f"The loss scale fell from {scale.max():g} to {scale[-1]:g}, by about {halved} halvings. Each halving is a step that "
            f"was left out, since its gradients were infinite or NaN.{_place(run)}",
            f"loss_scale below {self.least:g} since step {first}", (), ("pause", {}), first, "Sure.",
            "Look for the first bad number; compute the loss, norms and softmax in float32, or use bfloat16.", "curves",
        )]


def _place(run: RunReader) -> str:
    fact = run.meta.get("gradient_overflow")
    if not isinstance(fact, dict):
        return ""
    place = fact.get("op") or fact.get("layer")
    where = f"it began at {place} on the way back" if place else "the answers were finite, so it began in the loss or in its gradient"
    return f" At step {fact.get('step')} {where}."
