"""The command `remove_units`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class RemoveUnitsCommand(Command):
    """Remove units of a layer while it trains, with all that hangs on them.

    *Meaning* the network then answers as if nothing read these units any more: of dead units nothing changes. All other
    weights, and what the optimizer remembers of them, stay bit by bit; the units behind them move up.
    *Cost* about six forward passes on a few examples of the probe set, on a copy.
    *Raises* UsageError, NotApplicable before anything changes, as ``add_units`` does, and where a layer would have no unit left.
    """

    family = "structure"
    previewed = True
    layer: str = knob("", "Which layer.", kind="layer", main=True)
    units: str = knob("", "The numbers of the units.", kind="units", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Remove them."""
        from ...training.surgery import units
        from .. import shapes

        wanted = [int(number) for number in self.units.split(",") if number]
        return shapes.reshaped(training, "removed", units.remove_units, layer=self.layer, units=wanted)
