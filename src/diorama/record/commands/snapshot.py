"""The command `snapshot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class SnapshotCommand(Command):
    """Keep the weights of this step for good, with a checkpoint of all that is needed to train on."""

    family = "time"
    alone = True
    steers = False

    def apply(self, training: Controls) -> Outcome:
        """Take it."""
        training.keep()
        return Outcome("", str(training.number), f"kept the weights of step {training.number}")
