"""The finding `saturated_units`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from ...core.selection import layer_key
from . import Diagnosis, Finding, called, judged, last_made, layers_between, since

if TYPE_CHECKING:
    from ..reader import RunReader

_CALM = 0.45
"""What came with learning is no alarm."""
_ALL = 0.99
"""From this share on all are at the ends."""


class SaturatedUnits(Finding):
    """Bounded activations, by modules or functions, that sit at the ends of their range, several readings in a row.

    *Meaning* a sigmoid or tanh at its end has almost no slope, so hardly any gradient passes and the layers before it
    stop learning. Where activations came to the ends while the task was learnt, as in a recurrent layer that keeps symbols, that is how the network
    does it, and no alarm.
    """

    rests = ("activations/*/saturated:readings",)
    about = "bounded"

    share: float = knob(0.5, "The share of activations from which on it is told.", low=0.0, high=1.0)
    readings: int = knob(3, "How many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for each layer."""
        found = []
        # The last layer's answers are meant to come to an end: a sure classifier's do.
        order = {layer["name"]: layer.get("order", 0) for layer in run.meta.get("layers", ())}
        final = (max(order, key=lambda each: order[each]) if order else "", last_made(run).get("name"))
        squashed = {layer["name"]: layer["squashed"] for layer in run.meta.get("layers", ()) if layer.get("squashed")}
        for name, steps, values in layers_between(run, "activations/", "/saturated"):
            last = values[-self.readings :]
            if len(last) < self.readings or not last.min() >= self.share:
                continue
            told = f"the {squashed[name]} of {called(name)}" if name in squashed else f"the activations of {called(name)}"
            first, lowest = since(steps, values >= self.share), float(last.min())
            known = judged(run)
            fixed = lowest >= _ALL and name in squashed and _one_end(run, name, self.readings)
            came = bool(known.learnt) and first > steps[0]
            if name in final and not (fixed and came and run.meta.get("measure")):
                continue  # of several outputs that the loss asks for the last one need not be the scores
            if fixed and came:
                found.append(Diagnosis(
                    self.name, _CALM, f"{called(name)} always answers the same end",
                    f"{lowest:.0%} of {told} have been at one and the same end of their range since step {first}: they answer the same to "
                    "everything, and no gradient passes. Where they are answers of the network, true values may lie beyond what they can reach.",
                    f"saturated share at the last {self.readings} readings: {', '.join(f'{v:.2f}' for v in last)}; all before the function lie on "
                    "one side of its middle, far from it", (layer_key(name),), None, first, "Sure for the batches that were read.",
                    "Scale what they are compared with into their range, or leave out the function.", "health",
                ))
                continue
            found.append(Diagnosis(
                self.name, min(_CALM if came else 1.0, 0.2 + 0.6 * lowest), f"{called(name)} is saturated",
                f"{lowest:.0%} of {told} have been at the ends of their range since step {first}, where hardly any gradient passes. "
                + (f"They came there while it learnt ({known.told}): a task that is learnt may want it so." if came else
                   "Smaller first weights, normalized inputs or a lower learning rate help."),
                f"saturated share at the last {self.readings} readings: {', '.join(f'{v:.2f}' for v in last)}",
                (layer_key(name),), ("learning_rate", {"factor": 0.5}), first,
            ))
        return found


def _one_end(run: RunReader, name: str, readings: int) -> bool:
    """Whether all that went into a bounded function lay on one side of its middle, at each of the last readings."""
    if f"activations/{name}" not in run.histogram_names:
        return False
    ends = run.histograms(f"activations/{name}").statistics[-readings:, :2]
    return bool(len(ends) and (ends[:, 0].min() > 0 or ends[:, 1].max() < 0))
