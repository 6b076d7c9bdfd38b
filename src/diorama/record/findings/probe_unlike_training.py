"""The finding `probe_unlike_training`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, last, series

if TYPE_CHECKING:
    from ..reader import RunReader


class ProbeUnlikeTraining(Finding):
    """The probe set's inputs lie in another range, or its classes are shared out otherwise, than in the training's batches.

    *Meaning* often one of the two was normalized and the other was not (0 to 255 against 0 to 1). What all views show of the
    probe set is then not what the model was trained for. Where a step has several forward passes, the inputs of the
    first need not be those of the training, and are not compared.
    """

    factor: float = knob(3.0, "How many times larger or smaller the spread of the inputs must be.", low=1.0)
    balance: float = knob(0.4, "How far the classes' shares must lie apart: the share that would have to change class.", low=0.0, high=1.0)
    readings: int = knob(3, "Readings that are compared at least.", low=1)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding for the inputs and one for the classes."""
        like: dict[str, Any] = run.meta.get("probe") or {}
        return [*self._inputs(run, like.get("inputs")), *self._classes(run, like)]

    def _inputs(self, run: RunReader, probe: Any) -> list[Found]:
        passes = last(run, "batch/passes", 10)
        names = ("batch/low", "batch/high", "batch/mean", "batch/std")
        seen = [last(run, name, 200) for name in names]
        if not probe or len(seen[0]) < self.readings or len(passes) < self.readings or np.median(passes) > 1:
            return []
        low, high = float(np.min(seen[0])), float(np.max(seen[1]))
        mean, std = float(np.median(seen[2])), float(np.median(seen[3]))
        if not np.isfinite([low, high, mean, std]).all():
            return []
        ratio = probe[3] / std if std > 0 else np.inf if probe[3] > 0 else 1.0
        shift = abs(probe[2] - mean) / max(std, probe[3], 1e-12)
        if 1 / self.factor < ratio < self.factor and shift < 1.5:
            return []
        return [Found(
            self.name, 0.7, "The probe set is unlike the training's inputs",
            f"Inputs of the probe set lie from {probe[0]:.3g} to {probe[1]:.3g} (mean {probe[2]:.3g}), those of the training's "
            f"batches from {low:.3g} to {high:.3g} (mean {mean:.3g}).",
            f"standard deviation {probe[3]:.3g} against {std:.3g}; means {shift:.1f} standard deviations apart", (), None,
            int(series(run, names[0])[0][0]), "Sure for the batches that were read.",
            "Prepare the probe set as the training's examples are prepared.", "examples",
        )]

    def _classes(self, run: RunReader, like: dict[str, Any]) -> list[Found]:
        steps, apart = series(run, "batch/balance")
        seen = float(series(run, "batch/count")[1].sum())
        classes = len(like.get("balance") or ())
        # Shares from few labels lie apart by chance.
        if len(apart) < self.readings or min(seen, like.get("count", 0)) < 20 * classes or apart[-1] < self.balance:
            return []
        return [Found(
            self.name, 0.55, "The probe set has other shares of classes than the training",
            f"{apart[-1]:.0%} of the probe set's labels would have to change for its classes to be shared out as in the "
            "training's batches.",
            f"total variation distance of the shares {apart[-1]:.2f}, over {int(seen):,} labels of the training", (), None,
            int(steps[0]), "Sure, where the batches that were read stand for all.",
            "Draw the probe set as the training's examples are drawn, or read its accuracy class by class.", "confusion",
        )]
