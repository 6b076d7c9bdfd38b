"""The command `thaw`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...core.knobs import knob
from ...core.selection import spoken
from ..acts import Setting, SettingsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class ThawCommand(Command):
    """Let a frozen layer learn again: it goes on as if the steps while it was frozen had not been."""

    family = "optimizer"
    shared = True
    layer: str = knob("", "Which frozen layer.", kind="layer", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Thaw it."""
        training.subject.frozen.thaw(self.layer)
        training.tell_frozen()
        undo = SettingsReversal([Setting(("frozen", self.layer), partial(training.set_frozen, self.layer), True, False)])
        return Outcome("frozen", "learns", f"thawed {spoken(self.layer)}", undo)
