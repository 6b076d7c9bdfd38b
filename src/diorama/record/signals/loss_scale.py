"""The signal `loss_scale`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class LossScaleSignal(Signal):
    """The factor by which a gradient scaler multiplies the loss, where ``watch(state=[scaler])`` was given one.

    *Meaning* it is halved each time a gradient overflows, and that step of the optimizer is left out; it grows again after
    many steps without. A scale that keeps falling says that gradients overflow whatever it is.
    """

    needs = frozenset({"scale"})

    def __call__(self, step: Step) -> Values:
        """``loss_scale``."""
        return {} if step.loss_scale is None else {"loss_scale": step.loss_scale}
