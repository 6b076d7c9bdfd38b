"""The finding `evaluation_mode`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..facts import learnable
from . import Diagnosis, Finding, series, since

if TYPE_CHECKING:
    from ..reader import RunReader

_STEPS = 50
"""Steps of a training of which two readings alone are believed."""


class EvaluationMode(Finding):
    """The network is trained in evaluation mode: nothing is dropped, and batch norm's running statistics are used and stay as they are.

    *Meaning* ``eval()`` was called for a look at other data and ``train()`` was not called after it, or never. Networks whose layers work
    alike in both modes are not meant, nor those of which only parts are in evaluation mode.
    """

    rests = ("batch/eval:2",)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, mode = series(run, "batch/eval")
        # At the third reading in a row, or at the second where there was never another.
        if len(mode) < 2 or not mode[-3:].all() or (len(mode) < 3 and run.last_step < _STEPS):
            return []
        first = since(steps, mode > 0)
        still = len((run.meta.get("held") or {}).get("still", ()))
        tuned = 2 * still > len(learnable(run.meta))  # most of it rests: then this is how one tunes the rest
        return [Diagnosis(
            self.name, 0.3 if tuned else 0.75, "It is trained in evaluation mode",
            f"{'At every reading' if mode.all() else f'Since step {first}'} the network stood in evaluation mode while it was trained: "
            "nothing is dropped, and a batch norm uses its running statistics and no longer renews them.",
            f"readings in evaluation mode: {int(mode.sum())} of {len(mode)}", (), None, first,
            "Certain for the steps that were read; some train on a finished network so on purpose.",
            "Call model.train() before the training goes on after each look at other data.", "curves",
        )]
