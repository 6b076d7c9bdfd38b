"""The finding `batch_norm_mismatch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.selection import layer_key
from ..ranges import LAST_BATCH
from . import Diagnosis, Finding, last, layers_between, named, since, until_looked

if TYPE_CHECKING:
    from ..reader import RunReader


_UNLIKE = 0.2
"""A mismatch above that of a batch's chance, where the momentum says by itself that statistics have not arrived."""
_CHANCE = 0.03
"""How far statistics of two batches lie apart, at least, where it matters which of them was the last."""
_BEGUN = 0.05
"""The share of where statistics began that is in them still."""


class BatchNormMismatch(Finding):
    """Running statistics of a batch norm that are not those of the batches: what it does in evaluation is not what was trained.

    *Meaning* in training a batch norm subtracts the batch's mean and divides by its spread, in evaluation the running ones. Where
    these lie far apart (a momentum that is too small, statistics that are reset or never updated, batches that are unlike one
    another) the network answers well while it trains and badly when it is used. Statistics that are still on their way from
    where they began are waited for, but for a momentum so small that the run has not brought them there.
    """

    rests = ("activations/*/mismatch:readings@begun",)
    about = "batch norm"

    apart: float = knob(0.6, "How far they must lie apart: means in running standard deviations, spreads as the logarithm of their ratio.", low=0.0)
    readings: int = knob(5, "How many readings in a row.", low=2)
    begun: int = knob(50, "The step before which nothing is told.", low=0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all layers that are concerned, the worst first."""
        seen: list[tuple[float, str, int]] = []
        began = _still_begun(run)
        for name, steps, values in layers_between(run, "activations/", "/mismatch"):
            late = values[-self.readings :]
            if len(late) < self.readings or steps[-self.readings] < self.begun or not np.isfinite(late).all():
                continue
            if name in began and float(np.median(late)) >= _UNLIKE or late.min() >= self.apart and late[-1] >= 0.8 * late[0]:
                seen.append((float(np.median(late)), name, since(steps, values >= (_UNLIKE if name in began else self.apart))))
        if not seen:
            return self._of_one_batch(run)
        seen.sort(reverse=True)
        names, first = [name for _, name, _ in seen], min(step for _, _, step in seen)
        many, slow = len(names) > 1, [name for name in names if name in began]
        why = f" After {run.last_step:,} steps {max(began[name] for name in slow):.0%} of where they began is in them still." if slow else ""
        return [Diagnosis(
            self.name, 0.7, "Batch norm's running statistics are not the batches'",
            f"In {named(names)} the running mean and spread, which evaluation uses, {'have' if many else 'has'} not been those of the "
            f"training's batches since step {first}, so that the network answers otherwise in evaluation than it learns to.{why}{_harm(run)}",
            "apart (means in standard deviations, or the logarithm of the spreads' ratio): "
            + ", ".join(f"{name} by {size:.2g}" for size, name, _ in seen[:3]),
            tuple(layer_key(name) for name in names[:8]), None, first, "Sure for the batches that were read.",
            "Use the usual momentum (0.1), larger or better mixed batches, or estimate the statistics anew at the end.", "curves",
        )]

    def _of_one_batch(self, run: RunReader) -> list[Diagnosis]:
        """Statistics that each batch takes the place of: told where batches lie apart, which of the whole data they do not."""
        momenta = {str(layer["name"]): float(layer["momentum"]) for layer in run.meta.get("layers", ()) if layer.get("momentum", 0) >= LAST_BATCH}
        seen = [
            (float(np.median(values[-self.readings :])), name, int(steps[0]))
            for name, steps, values in layers_between(run, "activations/", "/mismatch")
            if name in momenta and (steps >= self.begun).sum() >= self.readings and float(np.median(values[-self.readings :])) >= _CHANCE
        ]
        if not seen:
            return []
        seen.sort(reverse=True)
        names, momentum = [name for _, name, _ in seen], max(momenta.values())
        return [Diagnosis(
            self.name, 0.6, "Batch norm's running statistics are those of the last batch",
            f"In {named(names)} a momentum of {momentum:g} makes the running mean and spread, which evaluation uses, {momentum:.0%} those of the "
            f"last batch: what the network answers hangs on which examples that held.{_harm(run)}",
            "from one batch to the next they lie apart (means in standard deviations, or the logarithm of the spreads' ratio): "
            + ", ".join(f"{name} by {size:.2g}" for size, name, _ in seen[:3]),
            tuple(layer_key(name) for name in names[:8]), None, min(step for _, _, step in seen),
            "Certain of the momentum, and of the batches that were read.", "Use the usual momentum (0.1)."
            + (f" In other libraries it is the part that is kept: their {momentum:g} is {1 - momentum:.2g} here." if momentum < 1 else ""),
            "curves",
        )]


def _still_begun(run: RunReader) -> dict[str, float]:
    """By layer how much of where its running statistics began is in them still: each batch leaves 1 − momentum of what was there."""
    shares = {
        str(layer["name"]): float((1 - layer["momentum"]) ** run.last_step)
        for layer in run.meta.get("layers", ()) if 0 < layer.get("momentum", 0) < 1
    }
    return {name: share for name, share in shares.items() if share >= _BEGUN}


def _harm(run: RunReader) -> str:
    right, held = until_looked(run, "batch/accuracy", 5), last(run, "probe/accuracy", 1)
    if len(right) < 3 or not len(held):
        return ""
    return f" Of the batches' answers {np.mean(right):.0%} are right, of the probe set's, in evaluation, {held[0]:.0%}."
