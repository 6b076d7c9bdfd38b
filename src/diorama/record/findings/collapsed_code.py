"""The finding `collapsed_code`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Diagnosis, Finding, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class CollapsedCode(Finding):
    """The code of a variational autoencoder says nothing of the input: its KL term has pressed all of it into the noise.

    *Meaning* a number of the code is active where its mean differs from example to example by a variance of more than 0.01. With none left the
    decoder gets noise alone, and makes the same of everything. It is known where the network hands out means and log-variances beside its answer.
    *Source* Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders, section 2; Bowman et al. 2016 (KL annealing).
    """

    rests = ("batch/code:readings", "steps:steps")
    about = "code"

    steps: int = knob(100, "Steps that a run must have for this to be told.", low=1)
    readings: int = knob(2, "How many readings in a row.", low=1)
    lasting: int = knob(40, "Over how many steps these must lie apart.", low=0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        steps, active = series(run, "batch/code")
        if run.last_step < self.steps or len(active) < self.readings or active[-self.readings :].any():
            return []
        first = since(steps, active == 0)
        if steps[-1] - first < self.lasting:
            return []
        flat = int((steps >= first).sum())
        return [Diagnosis(
            self.name, 0.7, "The code says nothing of the input",
            f"Since step {first} not one number of the code differs from example to example by more than its noise: the KL term pulls all "
            "means to 0, so that the decoder gets noise alone and makes much the same of everything.",
            f"share of the code's numbers that are active (a variance of the mean above 0.01): 0 at the last {flat} readings, "
            f"steps {first:,} to {steps[-1]:,}",
            (), None, first,
            "Sure for the batches that were read.",
            "Lower the KL term's weight, or let it rise from 0 over some epochs; sum the reconstruction's loss over all numbers of an example, as "
            "the KL term is summed over the code, rather than take its mean.", "curves",
        )]
