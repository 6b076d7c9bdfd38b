"""The command `undo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class UndoCommand(Command):
    """Take an act back: the newest command that is still in force, or any by its number.

    *Meaning* until the weights that it changed have learnt on, they and the optimizer's memory of them become bit by bit what they
    were. Later only the act's own difference is taken back, and what was learnt since stays. A factor, a freeze and
    other plain values are taken back at any step; what a later command set to the same stays in force.
    *Raises* UsageError, NotApplicable where nothing is left to take back, a later act changed the same weights, or what was before
    is no longer kept (256 MB are).
    """

    family = "time"
    shared = True
    plain = True
    steers = False
    command: int | None = knob(
        None, "The number of the command to take back; the newest in force when left out.", kind="integer", low=1, main=True
    )

    def apply(self, training: Controls) -> Outcome:
        """Take it back."""
        act, said = training.take_back(self.command)
        text = f"took back command {act.number}, {act.name} of step {act.step} ({act.text.partition(';')[0]})"
        return Outcome("in force", "taken back", f"{text}; {said}" if said else text)
