"""The command `freeze`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...core.knobs import knob
from ...core.selection import spoken
from ..acts import Setting, SettingsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class FreezeCommand(Command):
    """Keep a layer, with all that is in it, from learning until it is thawed.

    *Meaning* after each step of the optimizer the layer's weights, what the optimizer remembers of them and the running
    statistics of normalizing layers are put back bit by bit, so neither momentum nor weight decay moves them. Gradients
    still flow through it, and ``requires_grad`` stays as it was.
    *Cost* a copy of the layer and of the optimizer's memory of it, written back at each step.
    """

    family = "optimizer"
    shared = True
    layer: str = knob("", "Which layer, or a block with all layers in it.", kind="layer", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Freeze it."""
        count = training.subject.frozen.freeze(self.layer)
        training.tell_frozen()
        undo = SettingsReversal([Setting(("frozen", self.layer), partial(training.set_frozen, self.layer), False, True)])
        return Outcome("learns", "frozen", f"froze {spoken(self.layer)} ({count:,} weights)", undo)
