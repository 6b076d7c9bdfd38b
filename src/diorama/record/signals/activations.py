"""The signal `activations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import LayerReading, Step
    from . import Values


class ActivationsSignal(Signal):
    """How each layer answers the batch that is trained on: the distribution with its mean and standard deviation, and the
    shares of dead and of saturated units.

    *Meaning* a dead unit is never above zero where a ReLU cuts, or answers the same to everything elsewhere: it
    passes no gradient and can't come back by itself. A saturated activation lies within 1 % of an end of a bounded
    function. A batch norm's mismatch is how far its running statistics lie from the batch's. A layer that looks up rows, such as
    an embedding, has no dead units. Of several forward passes in a step (parts of a batch, the closures of LBFGS, the two of a
    GAN's discriminator, what a checkpoint computes again) the first is read; ``act#2`` is the second call of a layer within one
    pass.
    What runs compiled takes no hook: there the numbers are of the probe set, from the signal ``probe``, at its looks at the layers.
    *Error* histograms count every n-th activation of large layers; dead units are found over all of them.
    """

    needs = frozenset({"activations"})

    def __call__(self, step: Step) -> Values:
        """``activations/<layer>`` and its ``/mean``, ``/std``, ``/dead``, ``/saturated`` and ``/mismatch``; ``/came`` where few rows did."""
        found: dict[str, object] = {}
        for name, reading in step.activations.items():
            found[f"activations/{name}"] = reading.values
            found |= numbers_of(name, reading)
            if reading.mismatch is not None:
                found[f"activations/{name}/mismatch"] = reading.mismatch
        return found  # type: ignore[return-value]


FEW = 16
"""Of fewer rows than these it is told how many they are: of what comes to so few, little is sure."""


def numbers_of(name: str, reading: LayerReading) -> dict[str, float]:
    """The mean and standard deviation of a layer's answers, and the shares of dead and of saturated units, as series."""
    found = {}
    if reading.values.statistics[4]:
        found["mean"], found["std"] = reading.values.statistics[2:4].tolist()
    if reading.dead is not None:
        found["dead"] = reading.dead
    if 0 < reading.rows < FEW:
        found["came"] = float(reading.rows)
    if reading.saturated is not None:
        found["saturated"] = reading.saturated
    return {f"activations/{name}/{what}": value for what, value in found.items()}
