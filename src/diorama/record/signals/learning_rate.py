"""The signal `learning_rate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class LearningRateSignal(Signal):
    """The learning rate in force at every step, with the factor that a command put on it.

    *Meaning* further parameter groups are ``learning_rate/1`` and so on.
    """

    def period(self, every: int) -> int:
        """Every step, unless the knob says otherwise."""
        return self.every or 1

    def __call__(self, step: Step) -> Values:
        """The learning rates by group."""
        return step.learning_rates
