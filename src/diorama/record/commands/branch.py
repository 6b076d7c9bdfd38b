"""The command `branch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import NotApplicable
from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls
    from ..lineage import Line


class BranchCommand(Command):
    """Train on from a checkpoint beside this run, with another learning rate, while this one goes on or has ended.

    *Meaning* the new run stands bit by bit where the checkpoint stood; of several at one step it is the one that was asked for, else the
    one from before its first act, and the answer says which acts it has. A demo is started at once. A script's own line is started
    again in its folder, with ``consent``, since it writes its own files again: the same call of ``diorama.watch`` stands
    where the checkpoint stood before its first step, and never writes to this run. The new run's folder stands beside this one's under ``called``,
    or this one's name and a number, which the answer says.
    *Raises* Untrusted for a training that another user started; Unavailable in notebooks, for scripts from standard input
    and under torchrun, with what to type instead.
    """

    family = "time"
    steers = False
    living = False
    step: int | None = knob(None, "The step of a checkpoint; the last one when left out.", kind="integer", low=0, unit="step", main=True)
    factor: float = knob(1.0, "What the learning rate is multiplied by.", low=0.0, high=1e6, log=True, main=True)
    called: str = knob("", "What the new run is called; left empty: as this one, with a number.", main=True)
    consent: bool = knob(False, "Start the script's own line again, which writes its own files again.")

    def start(self, record: Line, page: int | None) -> Outcome:
        """Start it."""
        from .. import branch

        started = branch.start(record, self.step, self.factor, consent=self.consent, page=page, name=self.called)
        return Outcome(str(started.step), started.child.name, started.text)

    def apply(self, training: Controls) -> Outcome:
        """A living training cannot start itself again."""
        raise NotApplicable("branch is started by who asks for it, not by the training")
