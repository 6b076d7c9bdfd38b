"""The finding `dropout_too_strong`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.selection import layer_key
from . import ALARM, Diagnosis, Finding, last, named, until_looked
from .stalled_learning import StalledLearning

if TYPE_CHECKING:
    from ..reader import RunReader


_NEARLY = 0.9


class DropoutTooStrong(Finding):
    """So much is dropped in training that the network answers far worse there than in evaluation, or learns nothing.

    *Meaning* a rate of 0.1 to 0.5 is usual; at 0.95 one unit of twenty is left, and hardly a gradient gets through. A common reason is
    that the share to keep was given for the share to drop.
    """

    rests = ("batch/accuracy:5&probe/accuracy|loss:200",)
    about = "dropout"

    least: float = knob(0.75, "The share that a layer must drop.", low=0.0, high=1.0)
    gap: float = knob(0.2, "By how much fewer answers must be right in training; half as much where nine of ten are dropped.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all layers that are concerned."""
        strong = [(str(name), float(share)) for name, share in run.meta.get("dropouts") or () if share >= self.least]
        right, held = until_looked(run, "batch/accuracy", 10), last(run, "probe/accuracy", 1)
        # What drops nearly all learns so little that it cannot be far better without.
        gap = self.gap / 2 if any(share >= _NEARLY for _, share in strong) else self.gap
        if not strong:
            return []
        names, known = [name for name, _ in strong], {str(layer["name"]) for layer in run.meta.get("layers", ())}
        drops, it = ("drop", "they are") if len(names) > 1 else ("drops", "it is")
        if len(right) >= 5 and len(held) and held[0] - np.mean(right) >= gap:
            told = f": in training {np.mean(right):.0%} of the answers are right, on the probe set, where nothing is dropped, {held[0]:.0%}"
        elif max(share for _, share in strong) >= _NEARLY and any(one.severity >= ALARM for one in StalledLearning()(run)):
            told = ", and nothing is learnt, with it or without"
        else:
            return []
        return [Diagnosis(
            self.name, 0.7, f"{named(names)} {drops} nearly everything",
            f"{named(names)} {drops} {max(share for _, share in strong):.0%} of what {it} given{told}.",
            f"share that is dropped: {', '.join(f'{name} {share:g}' for name, share in strong[:4])}",
            tuple(layer_key(name) for name in names[:8] if name in known), None, 1,
            "Sure of the shares; other things that are done to training inputs alone may add to the gap.",
            "Drop 0.1 to 0.5; Dropout takes the share to drop, not the share to keep.", "curves",
        )]
