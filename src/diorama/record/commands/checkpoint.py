"""The command `checkpoint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class CheckpointCommand(Command):
    """Keep all that is needed to train on from this step, so that the training can go back to it or branch off from it.

    *Meaning* weights and buffers, optimizers, schedulers, the generators of Python, NumPy, PyTorch and its devices, what
    ``watch(state=)`` was given, and the wishes in force (learning-rate factors, frozen layers). The weights are kept as a
    snapshot too, so that views look at the step.
    """

    family = "time"
    alone = True
    steers = False

    def apply(self, training: Controls) -> Outcome:
        """Take it."""
        training.keep()
        return Outcome("", str(training.number), f"kept a checkpoint of step {training.number}")
