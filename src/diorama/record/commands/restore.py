"""The command `restore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import UsageError
from ...core.numerals import counted, joined
from . import Outcome
from ._example_command import ExampleCommand

if TYPE_CHECKING:
    from ...data.changes import Numbers
    from ..controls import Controls

ACTS = 5
"""So many acts are named."""


class RestoreCommand(ExampleCommand):
    """Give examples back their own label and weight; all that were changed where none is named.

    *Meaning* whatever was changed of them goes, by whichever acts: drops, labels and weights. The answer counts them, and names the acts;
    ``undo`` takes one act back and leaves what others did.
    """

    def apply(self, training: Controls) -> Outcome:
        """Take all changes of them back."""
        now = training.data.changes.changed()
        chosen = self.chosen(training) if self.examples or self.labelled is not None else now.numbers
        at = np.isin(now.numbers, chosen)
        numbers = now.numbers[at]
        if not len(numbers):
            which = "no example of the data is" if not len(now.numbers) else "of the chosen examples none is"
            raise UsageError(f"{which} changed, so there is nothing to restore")
        weights, labels = now.weights[at], now.labels[at]
        counts = {
            "dropped": int((weights == 0).sum()), "relabelled": int((~np.isnan(labels)).sum()),
            "weighed": int(((weights != 0) & (weights != 1)).sum()),
        }
        more = f", {joined([f'{count:,} {what}' for what, count in counts.items() if count])}{self._acts(training, numbers)}"
        return self.given(training, "restored", numbers, "its own" if len(numbers) == 1 else "their own", more, weight=1.0, label=float("nan"))

    def _acts(self, training: Controls, numbers: Numbers) -> str:
        """Which acts changed them, as far as they are in memory."""
        from ..training_data import ExampleReversal  # not above: whoever sends a command needs no torch

        mine = [
            f"{act.number} ({act.name})" for act in training.acts.in_force
            if isinstance(act.reversal, ExampleReversal) and act.name != self.name and np.isin(act.reversal.numbers, numbers).any()
        ]
        if len(mine) > ACTS:
            mine = [*mine[:ACTS], counted(len(mine) - ACTS, "others")]
        return f" by command{'s' if len(mine) > 1 else ''} {joined(mine)}" if mine else ""
