"""The finding `momentum_too_high`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Diagnosis, Finding, judged, series

if TYPE_CHECKING:
    from ..reader import RunReader


class MomentumTooHigh(Finding):
    """Each gradient goes on for so many steps that the training cannot turn in time.

    *Meaning* with momentum m a gradient counts for about 1 / (1 − m) steps: 10 at 0.9, 10,000 at 0.9999. The loss swings up and
    down, and the rate is in effect that much higher. Where the loss has come down all the same nothing is wrong.
    """

    rests = ("held", "loss:100")

    least: float = knob(0.995, "The momentum (of Adam its first beta) from which on it is told.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        momentum = float((run.meta.get("held") or {}).get("momentum", 0.0))
        count = len(series(run, "loss")[1])
        if not self.least <= momentum <= 1 or count < 100:
            return []
        known = judged(run)
        if known.learnt:
            return []
        lasts = f"about {1 / (1 - momentum):,.0f} steps" if momentum < 1 else "ever"
        return [Diagnosis(
            self.name, 0.75 if known.learnt is False else 0.4, "Momentum is too high",
            f"With a momentum of {momentum:g} each gradient counts for {lasts}, and the training has taken {count:,}: it "
            "rushes on where it should have turned.",
            f"momentum (of Adam the first beta): {momentum:g}", (), None, 1,
            f"Likely. {known.told[:1].upper()}{known.told[1:]}." if known.told else "Not sure: without labels nobody knows how low the loss can get.",
            "Usual is 0.9; with a higher one the rate must be as much lower.", "curves",
        )]
