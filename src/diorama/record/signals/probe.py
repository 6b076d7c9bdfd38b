"""The signal `probe`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.selection import without_call
from ..pace import FIRST
from . import Signal
from .activations import numbers_of

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class ProbeSignal(Signal):
    """Loss, accuracy, activations, and how each example stands on the probe set, looked at in eval mode between two steps.

    *Meaning* the probe set is the same at every step, so a change is the model's; a loss that rises here while it
    falls on the training batches says that the model overfits.
    *Cost* kept within 1 % of the training's time, 2.5 % while somebody looks at the training as it goes on: a slow model is looked at less often
    than due; at most one look in four reads the layers too.
    """

    needs = frozenset({"probe"})

    def period(self, every: int) -> int:
        """As often as the recorder is told to read; else at multiples of 10, where the looks' own share of the time allows."""
        return self.every or every or FIRST

    def __call__(self, step: Step) -> Values:
        """``probe/loss``, ``probe/accuracy``, ``activations/<layer>/probe``, ``examples/<what>`` and, of pixels and of several labels,
        ``classes/<what>``; of a layer that trains compiled also what the signal ``activations`` tells of others, where that is recorded."""
        if step.probe is None:
            return {}
        found: dict[str, object] = {}
        if step.probe.loss is not None:
            found["probe/loss"] = step.probe.loss
        if step.probe.accuracy is not None:
            found["probe/accuracy"] = step.probe.accuracy
        for name, reading in step.probe.layers.items():
            found[f"activations/{name}/probe"] = reading.values
            if without_call(name) in step.probe.closed:
                found |= numbers_of(name, reading)
        for name, row in step.probe.examples.items():
            found[f"examples/{name}"] = row
        found |= {f"classes/{name}": row for name, row in step.probe.classes.items()}
        return found  # type: ignore[return-value]
