"""The finding `turned_loss`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, series

if TYPE_CHECKING:
    from ..reader import RunReader


class TurnedLoss(Finding):
    """The training goes uphill: the loss that it makes small is the probe set's with the other sign.

    *Meaning* a minus too many (or ``maximize=True``): the worse an answer is, the better the loss finds it.
    """

    near: float = knob(0.25, "How near the training's first loss must lie to the probe set's, turned, as a part of it.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding."""
        steps, loss = series(run, "loss")
        probe = series(run, "probe/loss")[1]
        if len(loss) < 20 or len(probe) < 2 or not np.isfinite(loss).all() or not np.isfinite(probe).all():
            return []
        first = float(np.median(loss[:5]))
        if not (loss < 0).all() or not probe[0] > 0 or abs(first + probe[0]) > self.near * probe[0]:
            return []
        return [Found(
            self.name, 0.85, "The loss has the wrong sign",
            f"The training's loss began at {first:.3g}, the probe set's at {probe[0]:.3g}: the same with the other sign. Making it smaller makes "
            f"answers worse; the probe set's is {probe[-1]:.3g} now.",
            f"loss {first:.3g} → {np.median(loss[-5:]):.3g}, probe/loss {probe[0]:.3g} → {probe[-1]:.3g}", (), None, int(steps[0]),
            "Sure, where the training's loss is meant to be the probe set's.", "Take away the minus (or maximize=True).", "curves",
        )]
