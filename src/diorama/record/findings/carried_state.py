"""The finding `carried_state`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Diagnosis, Finding, series

if TYPE_CHECKING:
    from ..reader import RunReader


class CarriedState(Finding):
    """A recurrent layer begins each text or series with the state in which it ended one that it has nothing to do with.

    *Meaning* to hand on the state is right where each row of a batch goes on where that row of the batch before ended. Rows that are drawn by
    chance begin with what was remembered of another one, which is noise to them; and what is measured later, from an empty state, is another task.
    """

    rests = ("batch/strange:readings",)
    about = "carried"

    share: float = knob(0.8, "The share of rows that came again, and behind another row than before, from which on it is told.", low=0.0, high=1.0)
    readings: int = knob(3, "How many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, strange = series(run, "batch/strange")
        carried = series(run, "batch/carried")
        if len(strange) < self.readings or not carried[1][-self.readings :].all() or strange[-self.readings :].min() < self.share:
            return []
        return [Diagnosis(
            self.name, 0.65, "Each text begins with the memory of another one",
            f"A recurrent layer begins each batch in the state in which it ended the one before, but the rows do not go on there: of those that "
            f"came again {strange[-1]:.0%} came behind another row than the first time.",
            f"share of rows that came again behind another one, at the last {self.readings} readings: "
            f"{', '.join(f'{value:.2f}' for value in strange[-self.readings :])}",
            (), None, int(carried[0][0]), "Sure for the rows that came again in the batches that were read.",
            "Begin each batch without a state; or, if its rows are parts of one long text or series, keep their order: row k of a batch must go on "
            "where row k of the batch before ended.", "curves",
        )]
