"""The finding `weight_decay_too_strong`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, floor_of, judged, last, matrices, resting, series, series_between

if TYPE_CHECKING:
    from ..reader import RunReader

_APART = ("AdamW", "NAdamW", "Lion")
"""Optimizers that take the decay off the weights themselves."""


class WeightDecayTooStrong(Finding):
    """Weight decay takes so much off the weights at each step that what is learnt does not stay.

    *Meaning* rate × decay is the share that goes at a step; its inverse is about how many steps a weight remembers. It is known of SGD
    and of AdamW. Where the loss has come down all the same, it is told if the weights have shrunk to less than half of what they began with: what
    they hold is then what a balance between decay and gradient leaves, and not what was learnt.
    """

    rests = ("held", "learning_rate:100")
    about = "decay"

    steps: int = knob(250, "Steps within which half of a weight is gone, at most.", low=1)
    shrunk: float = knob(0.5, "To what share of their first size weights shrink where decay decides, at most.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding."""
        held = run.meta.get("held") or {}
        decay, kinds, momentum = held.get("decay", 0.0), held.get("kinds") or (), held.get("momentum", 0.0)
        rate = series(run, "learning_rate")[1]
        if not decay or not len(rate) or len(rate) < 100 or not set(kinds) <= {"SGD", *_APART} or not 0 <= momentum < 1:
            return []
        share = float(np.median(rate)) * decay / (1 - momentum if "SGD" in kinds else 1.0)
        half = np.log(2) / share if share > 0 else np.inf
        known, floor, loss = judged(run), floor_of(run), last(run, "probe/loss", 3)
        held_down = bool(floor and len(loss) and np.median(loss) > 0.5 * floor)
        shrunk = _shrunk(run)
        if half > self.steps or (known.learnt and not held_down and not shrunk < self.shrunk):
            return []
        return [Found(
            self.name, 0.75 if held_down or known.learnt is False else 0.6 if shrunk < self.shrunk else 0.4, "Weight decay is too strong",
            f"A weight decay of {decay:.3g} at a rate of {float(np.median(rate)):.3g} takes {100 * min(share, 1.0):.3g} % off the weights at "
            f"each step{' (momentum counted in)' if momentum and 'SGD' in kinds else ''}: half of what is learnt is gone within "
            f"{max(1, round(half))} step{'s' if half >= 1.5 else ''}."
            + (f" The weights have shrunk to {shrunk:.0%} of what they began with." if shrunk < self.shrunk else ""),
            f"rate × decay{' / (1 − momentum)' if momentum and 'SGD' in kinds else ''} = {share:.2g}", (), None, 1,
            f"Sure of the share. The probe loss is {np.median(loss) / floor:.0%} of what one answer for all would have." if floor and held_down
            else "Sure of the share, not of the harm.",
            "Usual are 0.0001 (SGD) and 0.01 to 0.1 (AdamW).", "health",
        )]


def _shrunk(run: RunReader) -> float:
    """The size of the weights that learn beside that at their first reading, in the middle of all; 1 where it is not known."""
    known, aside = matrices(run), resting(run)
    sizes = [
        float(norms[-1] / norms[0]) for name, _, norms in series_between(run, "weights/", "/norm")
        if name in known and name not in aside and len(norms) > 1 and norms[0] > 0 and np.isfinite(norms[-1])
    ]
    return float(np.median(sizes)) if sizes else 1.0
