"""The command `stop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class StopCommand(Command):
    """End the training; what was recorded stays.

    *Meaning* ``recorder.stopped`` turns true and ``recorder.step()`` raises Stopped, which the ``with
    diorama.watch(…)`` block ends quietly on. This is the only exception that ``step()`` raises.
    """

    family = "loop"
    shared = True
    plain = True
    steers = False

    def apply(self, training: Controls) -> Outcome:
        """Stop."""
        old = training.mood
        training.stop()
        return Outcome(old, training.mood, f"stopped after step {training.number}")
