"""The command `add_units`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class AddUnitsCommand(Command):
    """Add units to a layer while it trains: neurons, filters, hidden cells, or whole heads where their width is free.

    *Meaning* whatever hangs on them follows: the next layers, norms, the layers that a residual sum joins, tied weights. All
    weights that were there, and what the optimizer remembers of them, stay bit by bit; parameters and optimizer stay the
    objects that they are. ``preserve`` draws what a unit reads and zeroes what reads it: the answers stay, and the next step
    teaches it. ``split`` halves the units that are read most, at a share of its own for each outgoing weight. ``gradient`` reads
    nothing yet and is read such that the loss falls most steeply. ``random`` draws both, and the answers change.
    Where a tied weight alone makes and reads them, ``preserve`` draws them at 0.0003 of its size, as zeros would never learn; in a pruned
    layer their weights are not pruned.
    New units come last in their layer; what the optimizer remembers of them is zero. Averaged copies of the model and hooks on
    gradients that the training's own code keeps elsewhere are not seen, and keep the old shape.
    *Cost* about seven forward passes on a few examples of the probe set, on a copy; ``gradient`` about fifty.
    *Raises* UsageError, NotApplicable before anything changes: where a width is fixed (by the model's answer, a norm over all units,
    the code of ``forward``, an optimizer that remembers another shape), with the nearest that can be done.
    *Source* Chen et al. 2016, Net2Net (``split``); Evci et al. 2022, GradMax (``gradient``).
    """

    family = "structure"
    previewed = True
    layer: str = knob("", "Which layer, or a module of attention.", kind="layer", main=True)
    count: int = knob(1, "How many units; of a module of attention, heads.", low=1, high=1 << 16, unit="units", main=True)
    how: str = knob("preserve", "How they begin.", choices=("preserve", "split", "gradient", "random"), main=True)
    seed: int = knob(0, "What random numbers begin with.", low=0, high=2**31 - 1)

    def apply(self, training: Controls) -> Outcome:
        """Add them."""
        from ...training.surgery import units
        from .. import shapes

        return shapes.reshaped(
            training, "added", units.add_units, layer=self.layer, count=self.count, how=self.how, seed=self.seed,
            held=shapes.frozen(training), taught=shapes.taught(training) if self.how == "gradient" else None,
        )
