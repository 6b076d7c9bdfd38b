"""The command `step`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class StepCommand(Command):
    """Let the training do a few steps and then wait."""

    family = "loop"
    title = "Step"
    alone = True
    steers = False
    count: int = knob(1, "Steps that it does before it waits again.", low=1, high=1_000_000, unit="steps", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Allow the steps."""
        old = training.mood
        training.allow(self.count)
        steps = "one step" if self.count == 1 else f"{self.count} steps"
        return Outcome(old, training.mood, f"does {steps} after step {training.number}")
