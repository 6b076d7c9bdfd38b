"""The command `rewire`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class RewireCommand(Command):
    """Add a way round while it trains: what a later layer gives then has added to it what an earlier one gives; or remove it again.

    *Meaning* it leads through weights of its own (a dense layer, or a convolution of one place that leaves places out where the later
    layer has fewer), which are zero at first: no answer changes, and the next step teaches them, in the optimizer's group of the
    later layer. No other weight, name or moment changes. A way round in the model's own code cannot be removed.
    *Cost* about six forward passes on a few examples of the probe set, on a copy.
    *Raises* UsageError, NotApplicable before anything changes: where shapes do not allow it, or the first layer is not the earlier one.
    *Source* He et al. 2016 (projection shortcuts); Wei et al. 2016, Network Morphism.
    """

    family = "structure"
    previewed = True
    source: str = knob("", "Which layer it begins at.", kind="layer", main=True)
    target: str = knob("", "Which later layer it ends at.", kind="layer", main=True)
    how: str = knob("add", "Whether it comes or goes.", choices=("add", "remove"), main=True)

    def apply(self, training: Controls) -> Outcome:
        """Add or remove it."""
        from .. import structures

        return structures.rewired(training, self.source, self.target, self.how)
