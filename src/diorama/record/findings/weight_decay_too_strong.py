"""The finding `weight_decay_too_strong`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, judged, last, series

if TYPE_CHECKING:
    from ..reader import RunReader

_APART = ("AdamW", "NAdamW", "Lion")
"""Optimizers that take the decay off the weights themselves."""


class WeightDecayTooStrong(Finding):
    """Weight decay takes so much off the weights at each step that what is learnt does not stay.

    *Meaning* rate × decay is the share that goes at a step; its inverse is about how many steps a weight remembers. It is known of SGD
    and of AdamW; where the loss has come down all the same nothing is wrong.
    """

    rests = ("held", "learning_rate:100")
    about = "decay"

    steps: int = knob(250, "Steps within which half of a weight is gone, at most.", low=1)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding."""
        held = run.meta.get("held") or {}
        decay, kinds, momentum = held.get("decay", 0.0), held.get("kinds") or (), held.get("momentum", 0.0)
        rate = series(run, "learning_rate")[1]
        if not decay or not len(rate) or len(rate) < 100 or not set(kinds) <= {"SGD", *_APART} or not 0 <= momentum < 1:
            return []
        share = float(np.median(rate)) * decay / (1 - momentum if "SGD" in kinds else 1.0)
        half = np.log(2) / share if share > 0 else np.inf
        known, floor, loss = judged(run), (run.meta.get("probe") or {}).get("floor"), last(run, "probe/loss", 3)
        held_down = bool(floor and len(loss) and np.median(loss) > 0.5 * floor)
        if half > self.steps or (known.learnt and not held_down):
            return []
        return [Found(
            self.name, 0.75 if held_down or known.learnt is False else 0.4, "Weight decay is too strong",
            f"A weight decay of {decay:.3g} at a rate of {float(np.median(rate)):.3g} takes {100 * min(share, 1.0):.3g} % off the weights at "
            f"each step{' (momentum counted in)' if momentum and 'SGD' in kinds else ''}: half of what is learnt is gone within "
            f"{max(1, round(half))} step{'s' if half >= 1.5 else ''}.",
            f"rate × decay{' / (1 − momentum)' if momentum and 'SGD' in kinds else ''} = {share:.2g}", (), None, 1,
            f"Sure of the share. The probe loss is {np.median(loss) / floor:.0%} of what one answer for all would have." if floor and held_down
            else "Sure of the share, not of the harm.",
            "Usual are 0.0001 (SGD) and 0.01 to 0.1 (AdamW).", "health",
        )]
