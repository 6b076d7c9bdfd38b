"""The command `drop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Outcome
from ._example_command import ExampleCommand

if TYPE_CHECKING:
    from ..controls import Controls


class DropCommand(ExampleCommand):
    """Leave examples out of the training from now on: where one would come, another that is kept takes its place.

    *Meaning* the length of an epoch and the sizes of its batches stay; which example comes instead follows from a seed, and is one that
    the training's sampler asks for as well. It wants the data set wrapped in one line, ``DataLoader(diorama.data(dataset), …)``, or a loop
    of ours. Workers hear of it at their next batch; how many they have loaded before is told.
    *Raises* UsageError where none would be left, NotApplicable for an example of the probe set that is not in the data.
    """

    def apply(self, training: Controls) -> Outcome:
        """Give them the weight 0."""
        return self.given(training, "dropped", self.chosen(training), "0", weight=0.0)
