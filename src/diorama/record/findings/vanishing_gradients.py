"""The finding `vanishing_gradients`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, judged, layer_of, matrices, named, series_between, since

if TYPE_CHECKING:
    from ..reader import RunReader


class VanishingGradients(Finding):
    """Layers whose gradient is thousands of times smaller than that of the layer that gets most.

    *Meaning* they hardly learn while others do: the gradient is lost on its way back through saturated or too many
    layers. Residual connections, normalization or another activation function help.
    """

    rests = ("gradients/*/norm:readings",)

    ratio: float = knob(1e-4, "How small an element's gradient must be beside the largest layer's.", low=0, log=True)
    readings: int = knob(3, "How many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all layers that are concerned."""
        sizes, each = matrices(run), {}
        for name, steps, values in series_between(run, "gradients/", "/norm"):
            if name in sizes and len(steps) >= self.readings:
                each[name] = (steps, values / np.sqrt(max(sizes[name], 1)))
        if len(each) < 2:
            return []
        count = min(len(steps) for steps, _ in each.values())
        most = np.max([values[-count:] for _, values in each.values()], axis=0)
        bad: list[tuple[float, str, int]] = []
        for name, (steps, values) in each.items():
            with np.errstate(invalid="ignore", divide="ignore"):
                share = values[-count:] / most
            low = share < self.ratio
            if low[-self.readings :].all() and most[-1] > 0:
                bad.append((float(share[-1]), name, since(steps[-count:], low)))
        if not bad:
            return []
        bad.sort()
        first = min(step for _, _, step in bad)
        layers = tuple(dict.fromkeys(layer_of(name) for _, name, _ in bad))
        learns = "This layer hardly learns" if len(layers) == 1 else "These layers hardly learn"
        # What has learnt all has little left to learn, in one layer less than in another.
        known = judged(run)
        return [Diagnosis(
            self.name, 0.4 if known.learnt else 0.7, "Gradients vanish",
            f"Since step {first} the gradients of {named([name for _, name, _ in bad])} are {_less(bad)}. {learns}"
            + (f" any more; the training has learnt all the same: {known.told}." if known.learnt else "."),
            f"gradient an element of {bad[0][1]} beside the largest: {bad[0][0]:.2g}",
            layers, None, first,
        )]


def _less(bad: list[tuple[float, str, int]]) -> str:
    """How much smaller they are: of a gradient that is exactly 0 there is no factor."""
    none = [name for share, name, _ in bad if share == 0]
    some = next((share for share, _, _ in bad if share > 0), None)
    times = "" if some is None else f"{1 / some:,.0f}" if some > 1e-6 else f"{1 / some:.2g}"
    told = "" if some is None else f"up to {times} times smaller than the largest layer's, an element"
    return told if not none else f"exactly 0 ({named(none)}), the others {told}" if told else "exactly 0"
