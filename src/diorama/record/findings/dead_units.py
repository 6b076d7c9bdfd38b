"""The finding `dead_units`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.selection import layer_key
from . import Finding, Found, series_between, since

if TYPE_CHECKING:
    from ..reader import Reader


class DeadUnits(Finding):
    """Units that answer nothing to a whole batch, several readings in a row.

    *Meaning* a ReLU that is never above zero passes no gradient, so the unit can't come back by itself: that part of
    the layer is lost. Often a learning rate was too high for a while.
    """

    share: float = knob(0.1, "The share of a layer's units from which on it is told.", low=0.0, high=1.0)
    readings: int = knob(3, "How many readings in a row.", low=1)

    def __call__(self, run: Reader) -> list[Found]:
        """One finding for each layer in which the units die first."""
        order = {layer["name"]: layer.get("order", 0) for layer in run.meta.get("layers", ())}
        dead = {name: (steps, values) for name, steps, values in series_between(run, "activations/", "/dead")}
        found, before = [], 0.0
        for name in sorted(dead, key=lambda each: order.get(each, 0)):
            steps, values = dead[name]
            last = values[-self.readings :]
            lowest = float(last.min()) if len(last) == self.readings else 0.0
            inherited, before = before, lowest
            # A pooling behind a dead ReLU is silent too; only where it begins is told.
            if lowest < self.share or np.isnan(lowest) or inherited >= 0.9 * lowest:
                continue
            first = since(steps, values >= self.share)
            found.append(Found(
                self.name, min(1.0, 0.4 + 0.6 * lowest), f"{lowest:.0%} of {name} is dead",
                f"{lowest:.0%} of the units of {name} have answered nothing to a whole batch since step "
                f"{first}. They pass no "
                "gradient, so they won't come back by themselves; a lower learning rate keeps more from dying.",
                f"share of dead units at the last {self.readings} readings: {', '.join(f'{v:.2f}' for v in last)}",
                (layer_key(name),), ("learning_rate", {"factor": 0.5}), first,
            ))  # fmt: skip
        return found
