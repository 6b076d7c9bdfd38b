"""The finding `mixed_examples`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Diagnosis, Finding

if TYPE_CHECKING:
    from ..reader import RunReader

_EACH = ("classification", "multi_label", "regression", "next_token", "segmentation")
"""Tasks in which each example has an answer of its own."""


class MixedExamples(Finding):
    """The answer to an example depends on the other examples of its batch, also in evaluation mode.

    *Meaning* an axis was mistaken for another one (a recurrence or an attention that runs over the examples, a mean over all), so that
    examples read each other's inputs. Networks that compare the examples of a batch on purpose do the same.
    """

    rests = ("examples", "steps:1")

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        told = str(run.meta.get("mixing") or "")
        if not told or run.meta.get("task") not in _EACH or not run.last_step > 0:
            return []
        return [Diagnosis(
            self.name, 0.6, "Examples of a batch mix", f"{told[0].upper()}{told[1:]}.",
            "two examples of the probe set were answered together and alone, before the training", (), None, 0,
            "Certain for these; it may be meant, where a loss compares the examples of a batch.",
            "Look along which axis layers run: batch_first=True of RNNs and attention, the axis of a mean, a view() that mixes axes.", "structure",
        )]
