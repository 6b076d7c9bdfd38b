"""The finding `probe_in_training`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Finding, Found

if TYPE_CHECKING:
    from ..reader import RunReader


class ProbeInTraining(Finding):
    """Examples of the probe set are among those that are trained on, so that it says nothing of new ones.

    *Meaning* nothing is wrong where it was taken from there on purpose; where it is meant to be held out, test data lie among the training's.
    It is known of data that ``diorama.data`` wraps. A few that are there twice are not told.
    """

    share: float = knob(0.1, "The share of the probe set from which on it is told.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Found]:
        """One calm line."""
        data = run.meta.get("steered") or {}
        matched, probe = int(data.get("matched", 0)), int(data.get("probe", 0))
        if not probe or matched < max(1.0, self.share * probe):
            return []
        whole, total = matched >= probe, int(run.meta.get("examples") or 0)
        compared = probe < total
        return [Found(
            self.name, 0.2, "The probe set is trained on",
            f"{f'All {probe:,}' if whole else f'{matched:,} of the {probe:,}'} examples of the probe set{' that were compared' * compared} are "
            "among those that the training draws, "
            "so its loss and accuracy do not say how the model does on new ones.",
            f"{matched:,} of {probe:,} examples are the same, input for input", (), None, 0, "Certain.",
            "Hold the probe set out of the training, where it should tell of new examples.", "examples",
        )]
