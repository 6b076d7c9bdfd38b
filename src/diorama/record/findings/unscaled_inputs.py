"""The finding `unscaled_inputs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.numerals import plain
from . import Diagnosis, Finding, judged, last, series

if TYPE_CHECKING:
    from ..reader import RunReader


class UnscaledInputs(Finding):
    """The inputs are far smaller or larger than networks learn from, and little is learnt.

    *Meaning* of inputs near nothing the first layer's slopes are near nothing too, so that biases alone learn and the answer is the same for
    all; inputs of thousands throw its units to their ends. Often they were divided by 255 twice, or a column of a table was left as it came.
    Of several inputs each is looked at, and the one layer that takes as many numbers as it has is named. Nothing is told of a training
    that learns all the same, as one does whose first layer normalizes.
    """

    steady = True
    rests = ("batch/std:readings", "steps:steps", "probe/loss|batch/labels")
    small: float = knob(0.1, "No input lies further from zero than this.", low=0.0, high=1.0)
    large: float = knob(1000.0, "Inputs lie so far apart (standard deviation).", low=1.0)
    steps: int = knob(100, "Steps that a run must have for this to be told.", low=10)
    readings: int = knob(5, "Readings of the inputs at least.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        low, high, std = (last(run, f"batch/{name}", 200) for name in ("low", "high", "std"))
        which = last(run, "batch/input", 200)
        if len(std) >= self.readings <= len(which) and (which == which[-1]).all():
            low, high, std = (last(run, f"batch/input/{name}", 200) for name in ("low", "high", "std"))
        else:
            which = which[:0]
        if run.last_step < self.steps or len(std) < self.readings or judged(run).learnt is not False:
            return []
        far, apart = float(np.max(np.abs([low, high]))), float(np.median(std))
        if not np.isfinite([far, apart]).all() or not (0 < far < self.small or apart > self.large):
            return []
        small = far < self.small
        name, layer = _behind(run, int(which[-1])) if len(which) else ("", "")
        what = f"All numbers of the input {name!r}{f', which goes into {layer},' if layer else ''}" if name else "All inputs that were read"
        return [Diagnosis(
            self.name, 0.8, f"{f'The input {name!r} is' if name else 'The inputs are'} very {'small' if small else 'large'}, and little is learnt",
            plain(
                f"{what} lie from {np.min(low):.2g} to {np.max(high):.2g} (standard deviation {apart:.2g}). Networks learn from "
                "inputs that differ by about 1: of "
                + ("smaller ones hardly anything reaches the first layer beside its biases." if small else
                   "far larger ones the first layer's answers, and its steps, are as large.")
            ),
            plain(f"largest input {far:.3g}, median standard deviation of a batch {apart:.3g}"), (f"layer:{layer}",) if layer else (), None,
            int(series(run, "batch/input" if len(which) else "batch/std")[0][0]), "Sure of the inputs; likely that they hold it up.",
            f"Scale them, column by column, to a mean near 0 and a deviation near 1{'; look whether they are divided twice' if small else ''}.",
            "examples",
        )]


def _behind(run: RunReader, place: int) -> tuple[str, str]:
    """What the input at a place is called, and the one layer that takes as many numbers or channels as it has; empty where not known."""
    inputs = (run.meta.get("inputs") or {}).get("inputs")
    if not isinstance(inputs, dict) or place >= len(inputs):
        return "", ""
    width: dict[str, int] = {name: len(one["columns"]) if one.get("columns") else int(one.get("channels") or 0) for name, one in inputs.items()}
    name = list(inputs)[place]
    takes = {key: shape[1] for key, shape, *_ in run.meta.get("parameters", ()) if len(shape) > 1}
    made = [(layer["name"], layer.get("weight")) for layer in run.meta.get("layers", ()) if layer.get("leaf")]
    fit = [layer for layer, weight in made if takes.get(weight) == width[name]]
    alone = list(width.values()).count(width[name]) == 1
    return name, fit[0] if len(fit) == 1 and alone else ""
