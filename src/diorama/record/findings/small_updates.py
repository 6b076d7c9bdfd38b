"""The finding `small_updates`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ..ranges import UPDATE_RATIO_BESIDE
from . import Diagnosis, Finding, layer_of, learning, named, since

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats


class SmallUpdates(Finding):
    """Weights that change a thousand times less than the median weight does, beside their own size.

    *Meaning* they hardly learn while the others do: the rate of their group is far too low, or the gradient is lost on its
    way to them.
    """

    rests = ("updates/*/ratio:readings",)

    readings: int = knob(5, "How many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all weights that are concerned."""
        table = learning(run, "updates/", "/ratio")
        if table is None or len(table.names) < 3 or len(table.steps) < self.readings:
            return []
        with np.errstate(invalid="ignore", divide="ignore"):
            latest = table.values[-self.readings :]
            found = np.flatnonzero(_low(latest / np.nanmedian(latest, 1, keepdims=True), latest).all(0))
            if not len(found):
                return []
            beside = table.values / np.nanmedian(table.values, 1, keepdims=True)
        low = _low(beside, table.values)
        names = [table.names[k] for k in found]
        first = min(since(table.steps, low[:, k]) for k in found)
        least = float(beside[-1, found].min())
        return [Diagnosis(
            self.name, 0.5, f"{named(names)} hardly moves",
            f"Since step {first} each step changes {named(names)} {1 / max(least, 1e-12):,.0f} times less than it changes the "
            "median weight, beside their own size.",
            f"update / weights of {names[0]}: {table.values[-1, found[0]]:.2g}, median {np.nanmedian(table.values[-1]):.2g}",
            tuple(dict.fromkeys(layer_of(name) for name in names)), None, first,
            "Likely, unless a low rate of this group is meant.",
            "Look at the learning rate of its group, and at the gradients in the layers behind it.", "health",
        )]


def _low(beside: Floats, values: Floats) -> np.ndarray:
    """Which weights move far less than the median one, and yet move."""
    return (beside < UPDATE_RATIO_BESIDE.low) & (values > 0)
