"""The command `relabel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from . import Outcome
from ._example_command import ExampleCommand

if TYPE_CHECKING:
    from ...data.changes import Numbers, Values
    from ..controls import Controls


class RelabelCommand(ExampleCommand):
    """Train examples with another label from now on.

    *Meaning* the label keeps its type: a class index, a number, or the place of the 1 among zeros. The data set itself is not written to,
    and a probe set that holds the example keeps its own label: losses and shares of right answers are counted by that, which views say,
    while the example itself is told with both and is wrong by the new one alone. It wants the data wrapped as ``drop`` does.
    *Raises* UsageError for a class that there is not, NotApplicable for labels that no number stands for (texts, maps, several).
    """

    label: str | None = knob(None, "The new label of all of them: a class by its index or name, or a number.", kind="class", main=True)
    labels: str = knob("", "Instead: a new label for each, in the order of the examples: 5,3,1, or cat,ship,cat.", kind="labels")

    def apply(self, training: Controls) -> Outcome:
        """Give them the label."""
        if (self.label is None) == (not self.labels):
            raise UsageError("relabel wants either label= or labels=")
        numbers = self.chosen(training)
        form = training.data.changes.form
        if form == "unknown":
            raise NotApplicable("no label was loaded yet, so what labels look like is not known; wait for the first batch")
        if form == "none":
            raise NotApplicable(
                "the data's labels are no single numbers, or are not found in an item: say where with diorama.data(dataset, label=…)"
            )
        values = self._values(training, numbers)
        if form != "real":
            self._check(values, training.data.classes)
        given = list(dict.fromkeys(values.tolist()))
        shown = ", ".join(map(training.data.called, given[:5])) + (", …" if len(given) > 5 else "")
        return self.given(training, f"gave the label{'s' if len(given) > 1 else ''} {shown} to", numbers, shown, label=values)

    def _values(self, training: Controls, numbers: Numbers) -> Values:
        if self.label is not None:
            return np.full(len(numbers), training.data.value_of_label(self.label))
        values = np.array([training.data.value_of_label(part) for part in self.labels.split(",")])
        if len(values) != len(numbers):
            raise UsageError(f"labels wants one for each of the {len(numbers)} examples, got {len(values)}")
        return values

    def _check(self, values: Values, classes: int) -> None:
        wrong = values[(values < 0) | (values >= classes) | (values != np.floor(values))]
        if len(wrong):
            raise UsageError(f"label wants a class, by its name or index from 0 to {classes - 1}, got {wrong[0]:g}")
