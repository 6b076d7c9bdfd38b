"""The command `add_layer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class AddLayerCommand(Command):
    """Add a layer after another while it trains; it starts as the identity, so that no answer changes.

    *Meaning* as wide as what it follows: a convolution of 3 places where that gives maps, a dense layer else, with a ReLU where
    what it gets is never below zero. ``residual`` adds a block of two layers with a way round. No other weight, name or moment
    changes; the new weights learn in the optimizer's group of the layer that they follow.
    *Cost* about six forward passes on a few examples of the probe set, on a copy.
    *Raises* UsageError, NotApplicable before anything changes.
    *Source* Chen et al. 2016, Net2Net (deeper); Wei et al. 2016, Network Morphism.
    """

    family = "structure"
    previewed = True
    after: str = knob("", "Which layer it follows.", kind="layer", main=True)
    how: str = knob("identity", "What is added.", choices=("identity", "residual"), main=True)
    seed: int = knob(0, "What random numbers begin with.", low=0, high=2**31 - 2)

    def apply(self, training: Controls) -> Outcome:
        """Add it."""
        from .. import structures

        return structures.added(training, self.after, self.how, self.seed)
