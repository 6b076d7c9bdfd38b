"""The signal `metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class MetricsSignal(Signal):
    """What the loop passes to step(): the loss and any other numbers, at every step.

    *Units* the loop's own.
    """

    def period(self, every: int) -> int:
        """Every step, unless the knob says otherwise."""
        return self.every or 1

    def __call__(self, step: Step) -> Values:
        """The numbers as they came."""
        return step.scalars
