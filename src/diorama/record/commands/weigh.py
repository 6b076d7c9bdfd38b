"""The command `weigh`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Outcome
from ._example_command import ExampleCommand

if TYPE_CHECKING:
    from ..controls import Controls


class WeighCommand(ExampleCommand):
    """Let examples come more or less often: a weight of 3 is three times the odds of being drawn, one of 0.2 a fifth.

    *Meaning* odds are beside an unchanged example, which has 1, where the sampler asks for all alike; of another sampler they multiply
    what it does. As few places change as can be. The loss of an example stays as it is. It wants the data wrapped as ``drop`` does.
    """

    weight: float = knob(1.0, "The odds of being drawn beside an unchanged example: 1 takes it back, 0 drops it.", low=0, high=1e4, main=True)

    def apply(self, training: Controls) -> Outcome:
        """Give them the weight."""
        return self.given(training, f"gave the weight {self.weight:g} to", self.chosen(training), f"{self.weight:g}", weight=self.weight)
