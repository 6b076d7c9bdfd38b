"""The finding `exploding_updates`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, from_zero, layer_of, matrices, named, series, series_between, since

if TYPE_CHECKING:
    from ..reader import RunReader


class ExplodingUpdates(Finding):
    """Steps that throw weights about: each changes them by a large part of their own size.

    *Meaning* a ratio of update to weights near 0.001 is usual. Above 0.1 the training forgets within ten steps what
    it had learned; the learning rate is too high for these weights. Where the loss falls steeply all the same, as with a new last layer in its first
    steps, it is told calmly.
    """

    broken = True
    rests = ("updates/*/ratio:readings",)

    ratio: float = knob(0.1, "The ratio of the norms of update and weights from which on it is told.", low=0.0, log=True)
    readings: int = knob(3, "How many readings in a row.", low=1)
    most: float = knob(0.5, "The ratio from which on it is an alarm even where the loss falls.", low=0.0, log=True)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all weights that are concerned."""
        # Biases, and one half of an adapter, start at zero, where any update is large.
        weights = matrices(run).keys() - from_zero(run)
        bad: list[tuple[float, str, int]] = []
        for name, steps, values in series_between(run, "updates/", "/ratio"):
            last = values[-self.readings :]
            if name in weights and len(last) == self.readings and last.min() > self.ratio:
                bad.append((float(np.median(last)), name, since(steps, values > self.ratio)))
        if not bad:
            return []
        bad.sort(reverse=True)
        worst, first = bad[0][0], min(step for _, _, step in bad)
        calm = worst < self.most and _falls(run)
        factor = float(f"{min(0.5, 0.01 / worst):.1g}") if np.isfinite(worst) else 0.1
        severity = 0.4 if calm else float(min(1.0, 0.6 + 0.2 * np.log10(max(worst / self.ratio, 1))))
        return [Diagnosis(
            self.name, severity, "Updates are large" if calm else "Updates are too large",
            f"Since step {first} each step changes {named([name for _, name, _ in bad])} by up to {worst:.0%} "
            "of the weights' own "
            "size; 0.1 % is usual. " + ("The loss falls all the same, as it may where a new layer learns fast." if calm else
                                        "The learning rate is too high."),
            f"update / weights of {bad[0][1]}: {worst:.3g} (median of the last {self.readings} readings)",
            tuple(dict.fromkeys(layer_of(name) for _, name, _ in bad)),
            ("learning_rate", {"factor": max(factor, 1e-6)}), first,
        )]


def _falls(run: RunReader) -> bool:
    """Whether the loss has come down well below the lowest of its first five steps."""
    loss = series(run, "loss")[1]
    return len(loss) >= 20 and bool(np.median(loss[-10:]) < 0.7 * loss[:5].min()) and bool(loss[:5].min() > 0)
