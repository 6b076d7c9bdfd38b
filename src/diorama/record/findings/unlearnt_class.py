"""The finding `unlearnt_class`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from ..misread_classes import LOOKS, misread, surely
from . import Diagnosis, Finding

if TYPE_CHECKING:
    from ..reader import RunReader

_ALL_OVER = 0.6
"""No other class has more of the wrong answers: else the one is taken for the other."""


class UnlearntClass(Finding):
    """Examples of one class get all sorts of answers, though the rest is right.

    *Meaning* nothing that the training's labels say of them holds for the class as a whole: its labels were mixed with those of others (a wrong
    join of two tables, a file that was sorted on one side alone), it is rare, or its examples have nothing in common. Or the loss leaves the class
    out: by its weight, or by ``ignore_index``, with which nothing is wrong where it is meant.
    """

    steady = True
    rests = ("examples/answer:4&examples/loss:4&probe.labels|classes/confusion:4",)
    about = "classes"
    wrong: float = knob(0.5, "The share of the class that is answered wrongly, at least.", low=0.1, high=1.0)
    rest: float = knob(0.8, "The share of the others that is answered rightly, at least.", low=0.5, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding, for the class that the loss leaves out, else for the one of which least is right."""
        looked = {"examples/answer", "classes/confusion"} & set(run.row_names)
        if looked and (left := run.meta.get("unasked")) and run.meta.get("task") in ("classification", "segmentation"):
            return [self._left_out(run, int(left[0]))]
        for one in misread(run, self.wrong, self.rest):
            right = one.shares[:, one.label]
            others = one.shares[-1].copy()
            others[one.label] = 0.0
            if others.max() > _ALL_OVER * others.sum():
                continue
            sure = one.blind and one.lasts and not one.falls and surely(1 - right, one.examples).min() >= self.wrong
            names, kinds = run.meta.get("classes") or [], int((others > 0).sum())
            said = one.said(names)
            first = int(one.steps[0])
            return [Diagnosis(
                self.name, 0.6 if sure else 0.4, f"{said} is not learnt",
                f"From step {first:,} to step {int(one.steps[-1]):,} at most {right.max():.0%} of the probe set's {one.of} of {said} were answered "
                f"rightly, though {one.rest.min():.0%} or more of the others were; their wrong answers are {kinds} different classes"
                + (", and their loss is no better than that of one answer for all." if one.blind else "."),
                f"right at the last {LOOKS} of {len(right)} looks: {', '.join(f'{share:.2f}' for share in right[-LOOKS:])}; {one.counted}; "
                f"loss {one.loss[-1]:.2f}",
                (f"class:{one.label}",), None, first,
                f"Sure for the {one.counted} of the probe set, not why." if sure else
                f"Sure for the {one.counted}, not that it stays so: the class may be hard, or still be learnt.",
                f"Look at the training's examples of {said}: are their labels mixed up with others', or are there few of them?", "confusion",
            )]
        return []

    def _left_out(self, run: RunReader, label: int) -> Diagnosis:
        names = run.meta.get("classes") or []
        said = str(names[label]) if label < len(names) else f"class {label}"
        why = next((one for one in run.meta.get("guessed") or [] if one.startswith(f"label {label} is left out")), "")
        return Diagnosis(
            self.name, 0.5, f"The loss leaves {said} out",
            "The training's loss pulls at no answer whose label it is, so nothing is learnt of it, though the probe set has it; it is left out of "
            "the probe set's loss and accuracy too. Nothing is wrong where it is a label that means \"ignore\".",
            why or f"label {label} never came among those that the gradient tells",
            (f"class:{label}",), None, int(run.meta.get("reread") or 0),
            "Sure that batches that were read never asked for it, not whether that is meant.",
            "Look at the loss: is the weight of this class 0, or is it its ignore_index? Where it is to be ignored, give the probe set −100 there.",
            "confusion",
        )
