"""The command `go_back`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class GoBackCommand(Command):
    """Let the training stand where it stood after an earlier step, and go on from there in a run of its own.

    *Meaning* nothing is rewritten: this run ends here, and a child run beside it (``run.children``) goes on from the
    checkpoint. Weights, optimizer, schedulers and all generators are bit by bit as they were; so is what
    ``watch(state=)`` holds. Batches that a loop draws by itself go on; a demo's follow from its step, and come again.
    ``command`` stands where the training stood before that command, where its checkpoint is still there.
    ``skip`` leaves out that many of the next batches, such as one that made the loss NaN.
    Units and layers that came or went since by commands go or come back; the optimizer and the weights that stay are the same objects.
    *Raises* NotApplicable where the loop itself gave the network another shape since.
    """

    family = "time"
    steers = False

    step: int | None = knob(None, "The step of a checkpoint; the last one when left out.", kind="integer", low=0, unit="step", main=True)
    skip: int = knob(0, "So many of the next batches are left out.", low=0, high=1_000_000, unit="batches")
    command: int | None = knob(None, "Before which command, instead of a step.", kind="integer", low=1)

    def apply(self, training: Controls) -> Outcome:
        """Go back."""
        return Outcome(*training.go_back(self.step, self.skip, self.command))
