"""What commands on examples of the training's data share: how the examples are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from ...core.numerals import counted
from . import Command, Outcome

if TYPE_CHECKING:
    from ...data.changes import Changes, Numbers, Values
    from ..controls import Controls
    from ..training_data import TrainingData


class ExampleCommand(Command):
    """A command on examples of the data set that was wrapped with ``diorama.data``, or of a loop of ours."""

    family = "data"
    examples: str = knob(
        "", "Which examples, by their numbers in the training's data (of the probe set with ``of``): 3,14,20-40.",
        kind="examples", main=True,
    )
    of: str = knob(
        "data", "Whether these are numbers of the training's data, or of the probe set, whose examples may be among them.",
        choices=("data", "probe"), main=True,
    )
    labelled: str | None = knob(None, "Instead of numbers: all that have this label now, as far as they were loaded.", kind="class")

    def chosen(self, training: Controls) -> Numbers:
        """The examples, as the data set numbers them. *Raises* UsageError, NotApplicable where there is none."""
        data = training.data
        if bool(self.examples) == (self.labelled is not None):
            raise UsageError(f"{self.name} wants either examples= or labelled=")
        if self.labelled is None:
            return data.numbers(self.examples, self.of)
        changes, label = data.changes, data.number_of_class(self.labelled)
        if changes.form == "none":
            raise NotApplicable("the labels of these data are no single classes, so none tells which examples; name them by their numbers")
        found = changes.labelled(label)
        if not len(found):
            if had := int((changes.seen == label).sum()):
                raise NotApplicable(
                    f"no example has the label {self.labelled} now: {counted(had, 'examples')} that came with it "
                    f"{'has' if had == 1 else 'have'} another by now; name {'it by its number' if had == 1 else 'them by their numbers'}"
                )
            raise NotApplicable(f"no example with the label {self.labelled} was loaded yet; wait, or name examples by their numbers")
        return found

    def given(self, training: Controls, what: str, numbers: Numbers, new: str, more: str = "", **values: Any) -> Outcome:
        """Give the examples a weight or a label each, and say so, with ``more`` behind it."""
        from ..training_data import ExampleReversal  # not above: whoever sends a command needs no torch

        data = training.data
        changes = data.changes
        if all(np.array_equal(_held(changes, slot)[numbers], np.broadcast_to(value, len(numbers)), equal_nan=True) for slot, value in values.items()):
            return Outcome(new, new, f"{what} {told(numbers)}, as they were already", unchanged=True)
        before = "; ".join(dict.fromkeys(_old(data, numbers, slot) for slot in values))
        old: dict[str, Values] = {slot: changes.set(slot, numbers, value) for slot, value in values.items()}
        data.write(training.number)
        late = data.late()
        if changes.passed_by and training.number:
            late = (f"the loop has loaded none of the data in {counted(training.number, 'steps')}, so this changes nothing unless it draws from "
                    "what diorama.data returned")
        return Outcome(before, new, f"{what} {told(numbers)}{more}{'; ' if late else ''}{late}", ExampleReversal(changes, numbers, old))


def told(numbers: Numbers) -> str:
    """Which examples, in words."""
    if len(numbers) == 1:
        return f"example {numbers[0]} of the data"
    few = ", ".join(map(str, numbers[:5].tolist()))
    return f"{len(numbers):,} examples of the data ({few}{', …' if len(numbers) > 5 else ''})"


def _held(changes: Changes, slot: str) -> Values:
    """The weights of all examples, or the labels that they were given (NaN: their own)."""
    held: Values = changes.weights if slot == "weight" else changes.labels
    return held


def _old(data: TrainingData, numbers: Numbers, slot: str) -> str:
    """What they had, where that is the same for all or for few."""
    changes = data.changes
    held = _held(changes, slot) if slot == "weight" else np.where(np.isnan(changes.labels), changes.seen, changes.labels)
    told = "{:g}".format if slot == "weight" else data.called
    values = list(dict.fromkeys("?" if np.isnan(value) else told(value) for value in held[numbers].tolist()))
    return ", ".join(values[:5]) + (", …" if len(values) > 5 else "")
