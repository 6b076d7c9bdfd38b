"""The signal `learning_rate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class LearningRate(Signal):
    """The learning rate in force at every step, with the factor that a command put on it.

    *Meaning* further parameter groups are ``learning_rate/1`` and so on.
    """

    def due(self, number: int, every: int) -> bool:
        """Every step, unless the knob says otherwise."""
        return number % (self.every or 1) == 0

    def __call__(self, step: Step) -> Values:
        """The learning rates by group."""
        return dict(step.learning_rates)
