"""The finding `missing_class`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.selection import number_key
from . import Diagnosis, Finding, last, series, series_between

if TYPE_CHECKING:
    from ..reader import RunReader

_ONE = 0.9
"""Batches that hold so much of one label each show a class at a time, and may come to the others later."""


class MissingClass(Finding):
    """A class of the probe set that never is among the labels of the training.

    *Meaning* the model cannot learn it: a filter, a join or a split took it away, or its label has another number in the training. Its loss on the
    probe set rises the surer the others are told, which looks like overfitting.
    *Error* labels are those of the batches that were read; a class that was due twelve times is missed by chance once in 160,000.
    """

    steady = True
    rests = ("batch/count", "probe.labels", "due")
    about = "classes"
    due: float = knob(12.0, "How often it should have come among the labels that were read, by its share of the probe set.", low=1.0)
    examples: int = knob(5, "Examples of it in the probe set at least.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all such classes."""
        steps, counts = series(run, "batch/count")
        shown = last(run, "batch/labels", 10)
        if not (gone := missing(run, self.due, self.examples)) or (len(shown) and shown.mean() > _ONE):
            return []
        labels, names = np.array((run.meta.get("probe") or {}).get("labels") or (), np.int64), run.meta.get("classes") or []
        told = [str(names[one]) if one < len(names) else str(one) for one in gone]
        one, most = len(gone) == 1, max(gone, key=lambda each: gone[each])
        answers = run.rows("examples/answer")[1] if "examples/answer" in run.row_names else np.zeros((0, 0))
        right = ""
        if len(answers) and answers.shape[1] >= len(labels):
            there = np.isin(labels, list(gone))
            good = int((answers[-1][: len(labels)][there] == labels[there]).sum())
            right = f" Of these {there.sum():,} examples {f'{good:,}' if good else 'none'} {'are' if good > 1 else 'is'} answered rightly."
        said = ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")
        return [Diagnosis(
            self.name, 0.75, f"{'A class is' if one else 'Classes are'} missing in the training",
            f"{said} {'is' if one else 'are'} the label of {np.isin(labels, list(gone)).mean():.0%} of the probe set, and of none of the "
            f"{int(counts.sum()):,} labels that were read of the training's batches, up to step {int(steps[-1]):,}.{right}",
            f"by the probe set's shares class {told[list(gone).index(most)]} was due {gone[most]:.0f} times",
            tuple(number_key("class", each) for each in list(gone)[:8]), None, int(steps[0]), "Sure for the batches that were read so far: what a "
            "curriculum brings later is told until it comes.",
            "Look at what filters, joins or splits the training's examples, and at how labels are numbered there.", "confusion",
        )]


def missing(run: RunReader, due: float = 12.0, examples: int = 5) -> dict[int, float]:
    """By class of the probe set that no label of the training named until now: how often it was due."""
    at = series(run, "batch/count")[0]
    labels = np.array((run.meta.get("probe") or {}).get("labels") or (), np.int64)
    found = {
        int(name): float(values[-1]) for name, steps, values in series_between(run, "batch/absent/", "") if len(at) and steps[-1] == at[-1]
    }
    return {one: often for one, often in sorted(found.items()) if often >= due and (labels == one).sum() >= examples}
