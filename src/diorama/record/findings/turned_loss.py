"""The finding `turned_loss`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, series, since

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats, Steps

_FURTHER = 4.0
"""So many times as far from nothing as in the beginning is a loss that has no end."""


class TurnedLoss(Finding):
    """The training goes uphill: the loss that it makes small is the probe set's with the other sign.

    *Meaning* a minus too many (or ``maximize=True``): the worse an answer is, the better the loss finds it. Of a network that judges what
    another one makes it is told where both pull the same way.
    """

    broken = True
    rests = ("loss:20&probe/loss:2|batch/turned:readings",)

    near: float = knob(0.25, "How near the training's first loss must lie to the probe set's, turned, as a part of it.", low=0.0, high=1.0)
    readings: int = knob(3, "Of a judge, how many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        return self._own(run) or self._judge(run)

    def _judge(self, run: RunReader) -> list[Diagnosis]:
        """A judge pulls at what another network makes the same way as that one does: they work together, and nothing keeps them to the data."""
        steps, turned = series(run, "batch/turned")
        if len(turned) < self.readings or not turned[-self.readings :].all():
            return []
        return [Diagnosis(
            self.name, 0.8, "The judge and what it judges pull the same way",
            "The loss of this network moves its scores of what another one makes the same way as that one's own loss does. They should pull "
            "against each other: so what is made goes ever further where both want it, whatever the data are. "
            "One of the two losses has the wrong sign.",
            f"the two losses' gradients at these scores had the same sign at the last {self.readings} readings", (), None, since(steps, turned > 0),
            "Sure of the signs; what is made was told from the data by where it lies.",
            "Turn one sign: a critic makes mean(score of what is made) − mean(score of data) small, its partner −mean(score of what is made).",
            "curves",
        )]

    def _own(self, run: RunReader) -> list[Diagnosis]:
        steps, loss = series(run, "loss")
        probe = series(run, "probe/loss")[1]
        # Uphill there is no end but infinity: what came before the first bad number tells.
        loss, probe = _before_bad(loss), _before_bad(probe)
        if len(loss) < (20 if len(loss) == len(steps) else 5) or len(probe) < 2:
            return []
        first, now = float(np.median(loss[:5])), float(np.median(loss[-5:]))
        if not (loss < 0).all() or not probe[0] > 0:
            return []
        if abs(first + probe[0]) > self.near * probe[0]:
            return self._downhill(steps, first, now, probe) if run.meta.get("measure") else []
        return [Diagnosis(
            self.name, 0.85, "The loss has the wrong sign",
            f"The training's loss began at {first:.3g}, the probe set's at {probe[0]:.3g}: the same with the other sign. Making it smaller makes "
            f"answers worse; the probe set's is {probe[-1]:.3g} now.",
            f"loss {first:.3g} → {now:.3g}, probe/loss {probe[0]:.3g} → {probe[-1]:.3g}", (), None, int(steps[0]),
            "Sure, where the training's loss is meant to be the probe set's.", "Take away the minus (or maximize=True).", "curves",
        )]

    def _downhill(self, steps: Steps, first: float, now: float, probe: Floats) -> list[Diagnosis]:
        """A loss in another measure than the probe set's is below nothing from its beginning on, and the further it falls the worse answers are."""
        if not now < _FURTHER * first or not probe[-1] > -_FURTHER * first or not probe[-1] > _FURTHER * probe[0] or not (np.diff(probe) > 0).all():
            return []
        return [Diagnosis(
            self.name, 0.8, "The loss has the wrong sign",
            f"The training's loss is below 0 from its beginning on ({first:.3g}) and has fallen to {now:.3g}, and the probe set's has risen at each "
            f"look, from {probe[0]:.3g} to {probe[-1]:.3g}: making the one smaller makes answers worse.",
            f"loss {first:.3g} → {now:.3g}, probe/loss {probe[0]:.3g} → {probe[-1]:.3g}", (), None, int(steps[0]),
            "Likely: they are two measures, so that the beginnings cannot be compared.", "Take away the minus (or maximize=True).", "curves",
        )]


def _before_bad(values: Floats) -> Floats:
    """Numbers up to the first that is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(values))
    return values[: int(bad[0])] if len(bad) else values
