"""The finding `large_first_weights`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, floor_of, judged, last, layer_of, matrices, named, series, series_between

if TYPE_CHECKING:
    from ..reader import RunReader

_TABLES = ("Embedding", "EmbeddingBag")
"""Kinds of layers that pick rows: what they hold is not summed over."""


class LargeFirstWeights(Finding):
    """Weights that began so large that each layer makes its input several times as large: the first answers were sure, and wrong.

    *Meaning* a unit adds up as many products as it has inputs, so that weights of one over the root of that number keep a signal's size;
    usual beginnings lie at 0.6 to 1.4 of it. Behind larger ones the training first has to undo what its beginning says, by steps that are
    small beside such weights. Where norms take the size out again the first loss is as usual, and nothing is told.
    """

    rests = ("probe/loss:2", "probe.floor", "loss:3")

    gain: float = knob(4.0, "How many times as large as what keeps a signal's size weights are from which on they are told.", low=1.5, log=True)
    loss: float = knob(10.0, "How many times the loss of one answer for all the first loss is.", low=2.0, log=True)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all weights that are concerned."""
        floor = floor_of(run)
        steps, seen = series(run, "probe/loss")
        loss = series(run, "loss")[1][:3]
        if not isinstance(floor, int | float) or not floor > 0 or len(seen) < 2 or len(loss) < 3 or steps[0] > 1:
            return []
        # Before the first step a norm in evaluation mode takes no size out yet: the training's own loss tells.
        if not min(seen[0], float(np.median(loss))) > self.loss * floor:
            return []
        gains = sorted(((gain, name) for name, gain in _gains(run).items() if gain > self.gain), reverse=True)
        if not gains:
            return []
        now = float(np.median(last(run, "probe/loss", 3)))
        names = [name for _, name in gains]
        return [Diagnosis(
            self.name, 0.3 if judged(run).learnt else 0.7 if now > floor else 0.4, "Weights began too large",
            f"{named(names)} began with weights up to {gains[0][0]:.2g} times as large as what keeps a signal's size (0.6 to 1.4 times is usual), so "
            f"that the first answers were far off: the probe loss began at {seen[0]:.3g}, where one answer for all would have {floor:.3g}, and is "
            f"{now:.3g} now.",
            f"root mean square of a weight times the root of its inputs: {', '.join(f'{name} {gain:.2g}' for gain, name in gains[:3])}",
            tuple(dict.fromkeys(map(layer_of, names))), None, 0, "Certain that they began so; the first loss may have other causes besides.",
            "Leave the beginning to PyTorch, use torch.nn.init.kaiming_normal_, or put a norm behind each layer; then begin again.", "distributions",
        )]


def _gains(run: RunReader) -> dict[str, float]:
    """By weight: how much larger it made a signal before the first step, if all inputs are alike large and go their own ways."""
    tables = {str(layer["name"]) for layer in run.meta.get("layers", ()) if layer.get("kind") in _TABLES}
    rows = {str(name): int(shape[0]) for name, shape, _ in run.meta.get("parameters", ()) if len(shape) > 1}
    return {
        name: float(norms[0]) / np.sqrt(rows[name])
        for name, steps, norms in series_between(run, "weights/", "/norm")
        if name in matrices(run) and steps[0] <= 1 and name.rpartition(".")[0] not in tables
    }
