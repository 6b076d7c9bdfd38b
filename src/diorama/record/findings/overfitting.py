"""The finding `overfitting`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.selection import number_key
from . import Diagnosis, Finding, floor_of, otherwise_scaled
from .batch_norm_mismatch import BatchNormMismatch
from .missing_class import missing

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats, Steps


_PART = 0.02
"""A rise by less than this part of all that the probe loss has fallen is not told."""

_HARDLY = 0.9
"""A probe loss that never fell below so much of where it began has learnt next to nothing of these examples."""
_CARRIED = 3
"""Readings in a row at which a state was carried."""
_FAR, _NEAR = 0.25, 0.1
"""A probe loss above so much of what one answer for all would have is far from learnt; a loss below so much of that is near nothing."""

_CALM, _LATE, _PIXELS = 0.45, 3, 2000
"""No alarm; looks whose middle is the accuracy of now; as many answers a probe set of pixels or tokens surely has."""


class Overfitting(Finding):
    """The loss on the probe set rises while the loss of the training falls.

    *Meaning* from the named step on the model learns what is peculiar to its training examples. More data,
    augmentation, weight decay or stopping there help. It needs a probe set that is not trained on. Where a batch norm's running statistics are not
    the batches', or a state is carried from batch to batch, the probe set is answered in another way than was trained: then that is told instead.
    """

    steady = True
    rests = ("probe/loss:5", "loss:20", "apart", "sure")
    rise: float = knob(0.1, "By which part of its lowest value the probe loss must have risen.", low=0.0, high=100.0)
    readings: int = knob(3, "How many readings after the lowest one.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding, at the step of the lowest probe loss."""
        found = self._found(run)
        if not found or BatchNormMismatch()(run):
            return []
        if run.meta.get("measure") and (calm := _otherwise_measured(run, found[0])):
            return [calm]
        carried = run.series("batch/carried")[1][-_CARRIED:] if "batch/carried" in run.series_names else ()
        if not len(carried) or not np.all(carried):
            return found
        return [dataclasses.replace(
            found[0], severity=0.2, title="Whether it overfits is not known", action=None,
            text="In training a recurrent layer begins each batch in the state in which it ended the one before; the probe set is read from an empty "
            f"one. Its loss ({found[0].evidence}) is of another task than the training's, and says nothing of what was learnt by heart.",
            helps="Measure both from an empty state, or both from the state that goes before.",
        )]

    def _found(self, run: RunReader) -> list[Diagnosis]:
        names = run.series_names
        data = run.meta.get("steered") or {}
        trained_on = 2 * data.get("matched", 0) > data.get("probe", 0)  # it is no measure of this, the less where labels were changed
        if "probe/loss" not in names or "loss" not in names or trained_on or run.meta.get("doubt") or otherwise_scaled(run):
            return []
        steps, probe = _of_known_classes(run, *run.series("probe/loss"))
        train_steps, train = run.series("loss")
        if len(steps) < self.readings + 2 or len(train) < 20 or not np.isfinite(probe).all():
            return []
        best = int(np.argmin(probe))
        after = probe[best + 1 :]
        if len(after) < self.readings or after[-self.readings :].min() < (1 + self.rise) * probe[best]:
            return self._by_heart(run, int(steps[best]), probe, float(np.median(train[-max(1, len(train) // 20) :])))
        if after[-self.readings :].min() - probe[best] < _PART * (probe[0] - probe[best]):
            return []  # next to what was learned it is nothing: a loss near zero wavers
        width = max(1, len(train) // 20)
        at = int(np.searchsorted(train_steps, steps[best]))
        then, now = np.median(train[max(0, at - width) : at + 1]), np.median(train[-width:])
        if not now < then:
            return []
        step = int(steps[best])
        return [Diagnosis(
            self.name, _severity(probe[0], probe[best], after), "It overfits" if best else "Nothing learnt holds on the probe set",
            f"The loss on the probe set was lowest at step {step} ({probe[best]:.3g}) and has risen to "
            f"{after[-1]:.3g}, while the "
            f"training's fell from {then:.3g} to {now:.3g}." + (
                f" It never came {'' if best == 0 else 'far '}below where it began: where the probe set is not small, look whether its "
                "inputs are prepared as the training's, and whether labels belong to their inputs." if probe[best] > _HARDLY * probe[0] else ""
            ),
            f"probe/loss {probe[best]:.3g} → {after[-1]:.3g}, loss {then:.3g} → {now:.3g}",
            (number_key("step", step),), ("stop", {}), step,
        )]

    def _by_heart(self, run: RunReader, step: int, probe: Floats, now: float) -> list[Diagnosis]:
        """The training's examples are learnt almost wholly, and the probe set's stand where they are far from that."""
        floor = floor_of(run) or np.inf
        if now < 0 < floor or run.meta.get("measure"):
            return []  # a loss that knows no nothing, or another one than the probe set's
        if len(probe) < 5 or not probe[-2:].min() > max(probe[:-2].min(), _FAR * floor) or not now < _NEAR * probe[-2:].min():
            return []
        return [Diagnosis(
            self.name, 0.55, "It overfits",
            f"It knows its training examples by heart (loss {now:.2g}), and the loss on the probe set falls no more: it was lowest at step {step} "
            f"({probe.min():.3g}) and is {probe[-1]:.3g}, {probe[-1] / floor:.0%} of what one answer for all would have.",
            f"loss {now:.2g}, probe/loss {probe[-1]:.3g}", (number_key("step", step),), ("stop", {}), step,
        )]


def _otherwise_measured(run: RunReader, found: Diagnosis) -> Diagnosis | None:
    """What is left of it where the training makes another number small than the probe set's loss; None where the probe set's answers got worse too.

    A loss of overlaps (Dice), of margins or of focused classes makes answers ever surer, right ones and wrong ones, and a cross-entropy of those
    rises without anything that was learnt being lost. Of a code the divergence may fall while what is made of it gets worse.
    """
    if run.meta.get("task") == "reconstruction":
        told = "the training's loss has further terms, of which one may be what falls"
    elif "probe/accuracy" in run.series_names:
        looks, right = run.series("probe/accuracy")
        until, since = right[looks <= found.step], right[looks > found.step]
        count = len((run.meta.get("probe") or {}).get("labels") or ()) or _PIXELS
        if not len(until) or len(since) < _LATE:
            return None
        then, now = float(until[-1]), float(np.median(since[-_LATE:]))
        if then - now > 2 * np.sqrt(max(then * (1 - then), 1 / count) / count):
            return None
        told = f"{then:.0%} of the probe set's answers were right then, and {now:.0%} are now: they got surer, and not worse"
    else:
        return None
    return dataclasses.replace(
        found, severity=min(_CALM, found.severity), title="The probe set's loss rises", sure="Not sure: these are two measures.", action=None,
        text=f"{found.text} The two are not the same measure: {told}.",
    )


def _of_known_classes(run: RunReader, steps: Steps, probe: Floats) -> tuple[Steps, Floats]:
    """The probe loss over the examples whose class is in the training: of another one it rises the more the better the others are told."""
    if "batch/count" not in run.series_names or not (gone := missing(run)) or "examples/loss" not in run.row_names:
        return steps, probe
    at, rows = run.rows("examples/loss")
    labels = np.array((run.meta.get("probe") or {}).get("labels") or (), np.int64)
    kept = (labels >= 0) & ~np.isin(labels, list(gone))
    if len(at) < 2 or rows.shape[1] < len(labels) or not kept.any():
        return steps, probe
    return at, np.asarray(rows[:, : len(labels)][:, kept].mean(1), np.float64)


def _severity(first: float, lowest: float, after: np.ndarray) -> float:
    """By what was lost of all that was learned: a loss that is near nothing may double and still be near nothing."""
    lost = float(np.median(after[-3:]) - lowest) / max(first - lowest, 1e-12)
    return float(min(0.9, 0.35 + 1.5 * lost))
