"""The command `remove_layer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class RemoveLayerCommand(Command):
    """Remove a layer, or a block, that gives what it gets its own shape: what followed it then reads what it read.

    *Meaning* no other weight, name or moment changes; the answers do, unless it was the identity.
    *Cost* about six forward passes on a few examples of the probe set, on a copy.
    *Raises* UsageError, NotApplicable before anything changes.
    """

    family = "structure"
    previewed = True
    layer: str = knob("", "Which layer or block.", kind="layer", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Remove it."""
        from .. import structures

        return structures.removed(training, self.layer)
