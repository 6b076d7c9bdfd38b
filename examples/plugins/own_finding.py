"""A finding: what is wrong with a training, judged from its record alone, with what was seen."""

import sys

import torch

import diorama
from diorama.plugins import Diagnosis, Finding, knob


class Rising(Finding):
    """The loss is higher than at first."""

    by: float = knob(1.5, "How many times as high.", low=1.0)

    def __call__(self, run):
        """One where it is; none where all is well."""
        if not run.has_series("loss"):
            return []
        steps, losses = run.series("loss")
        if len(losses) < 2 or losses[-1] <= self.by * losses[0]:
            return []
        return [Diagnosis(
            "rising", severity=0.8, title="The loss rises", text="The training makes the loss larger, not smaller.",
            evidence=f"It was {losses[0]:.3g} and is {losses[-1]:.3g}.", step=int(steps[-1]),
            helps="A smaller learning rate usually helps.", action=("learning_rate", {"factor": 0.5}),
        )]


diorama.findings.register("rising", Rising)

folder = sys.argv[1] if len(sys.argv) > 1 else "rising"
with diorama.watch(torch.nn.Linear(4, 1), folder) as recorder:
    for loss in (1.0, 2.0, 4.0):
        recorder.step(loss=loss)
assert "rising" in [found.finding for found in diorama.open(folder).findings()]
print(diorama.open(folder).findings()[0])
