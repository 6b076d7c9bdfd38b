"""The command `pause`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class PauseCommand(Command):
    """Let the training wait before its next step until someone resumes it."""

    family = "loop"
    alone = True
    steers = False

    def apply(self, training: Controls) -> Outcome:
        """Pause."""
        old = training.mood
        training.pause()
        return Outcome(old, training.mood, f"paused after step {training.number}")
