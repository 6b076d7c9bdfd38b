"""The command `relabel`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from . import Applied
from ._of_examples import OfExamples

if TYPE_CHECKING:
    from ...data.changes import Numbers, Values
    from ..controls import Controls


class RelabelCommand(OfExamples):
    """Train examples with another label from now on.

    *Meaning* the label keeps its type: a class index, a number, or the place of the 1 among zeros. The data set itself is not written to,
    and a probe set that holds the example keeps its own label. It wants the data wrapped as ``drop`` does.
    *Raises* UsageError for a class that there is not, NotApplicable for labels that no number stands for (texts, maps, several).
    """

    label: float | None = knob(None, "The new label of all of them: a class index, or a number.", kind="number", main=True)
    labels: str = knob("", "Instead: a new label for each, in the order of the examples: 5,3,1.")

    def apply(self, training: Controls) -> Applied:
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
        values = self._values(numbers)
        if form != "real":
            self._check(values, training.data.classes)
        given = list(dict.fromkeys(values.tolist()))
        shown = ", ".join(f"{value:g}" for value in given[:5]) + (", …" if len(given) > 5 else "")
        return self.given(training, f"gave the label{'s' if len(given) > 1 else ''} {shown} to", numbers, shown, label=values)

    def _values(self, numbers: Numbers) -> Values:
        if self.label is not None:
            if not math.isfinite(self.label):
                raise UsageError(f"label wants a finite number, got {self.label}")
            return np.full(len(numbers), self.label)
        try:
            values = np.array([float(part) for part in self.labels.split(",")])
        except ValueError:
            raise UsageError(f"labels wants numbers with commas between, got {self.labels[:60]!r}") from None
        if len(values) != len(numbers) or not np.isfinite(values).all():
            raise UsageError(f"labels wants a finite number for each of the {len(numbers)} examples, got {len(values)}")
        return values

    def _check(self, values: Values, classes: int) -> None:
        wrong = values[(values < 0) | (values >= classes) | (values != np.floor(values))]
        if len(wrong):
            raise UsageError(f"label wants the index of a class, from 0 to {classes - 1}, got {wrong[0]:g}")
