"""The finding `visible_labels`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Diagnosis, Finding, last, series

if TYPE_CHECKING:
    from ..reader import RunReader


class VisibleLabels(Finding):
    """A language model reads the tokens that it is to tell: they stand where it looks.

    *Meaning* either the labels are the tokens at their own places (nobody shifted them), or the answers depend on tokens behind them (the
    causal mask is missing). The loss falls far, and nothing is learnt that helps to write. Labels that equal the token behind as often, of this
    input or of another one, are shifted; so few that differ as a tagger mends are no copy.
    """

    rests = ("batch/copied:readings|probe.ahead",)
    about = "next tokens"

    share: float = knob(1.0, "From which share of labels on that are the token at their own place it is told.", low=0.5, high=1.0)
    readings: int = knob(3, "How many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding."""
        if run.meta.get("task") != "next_token" or not run.last_step > 0:
            return []
        alike, ahead = last(run, "batch/copied", self.readings), last(run, "batch/shifted", self.readings)
        # Of texts that keep their state, or of a decoder beside the text that it writes again, the labels are next tokens as well: shifted rightly.
        moved = len(ahead) == len(alike) and bool((ahead >= alike).any())
        if len(alike) >= self.readings and alike.min() >= self.share and not moved:
            which = last(run, "batch/copied_input", 1)
            told = f" They stand in input {int(which[-1]) + 1} of those that are tokens." if len(which) else ""
            return [Diagnosis(
                self.name, 0.8, "The labels are the tokens that are read",
                f"{alike[-1]:.0%} of the labels are the very token that the model reads at their place: it is asked to repeat, not to go on.{told}",
                f"at the last {self.readings} readings at least {alike.min():.3f}", (), None, int(series(run, "batch/copied")[0][0]),
                "Sure for the batches that were read.", "Shift the labels by one place: x = tokens[:, :-1], y = tokens[:, 1:]" + (
                    " (a decoder reads a start token first, then its answer without the last token)." if len(which) else "."
                ), "learns_from",
            )]
        if not (run.meta.get("probe") or {}).get("ahead"):
            return []
        return [Diagnosis(
            self.name, 0.8, "Answers look ahead",
            "The answers to the first half of a text change when its second half is another one: the model sees the tokens that it is to tell, "
            "and what it has learnt does not help where they are not there yet.",
            "one text of the probe set was read with two second halves, before the training", (), None, 0, "Certain for that text.",
            "Mask what comes later (a causal mask in each attention; no recurrence from behind).", "attention",
        )]
