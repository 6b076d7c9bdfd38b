"""The command `resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class ResumeCommand(Command):
    """Let a paused training go on."""

    family = "loop"
    alone = True
    steers = False

    def apply(self, training: Controls) -> Outcome:
        """Resume."""
        old = training.mood
        training.resume()
        return Outcome(old, training.mood, f"resumed after step {training.number}")
