"""A command: what a person may ask of a running training. It says how it is taken back."""

import contextlib
import sys

import torch

import diorama
from diorama.plugins import Command, NotApplicable, Outcome, Setting, SettingsReversal, Unavailable, knob


class Dropout(Command):
    """Set how much the dropout layers leave out."""

    family = "structure"
    shared = plain = True  # of several processes that train together each sets the same value after the same step, and reads no weight for it
    share: float = knob(0.5, "Which share of the activations.", low=0.0, high=1.0, main=True)

    def apply(self, training):
        """Between two steps; ``training`` holds the model and its optimizers."""
        layers = {name: layer for name, layer in training.subject.model.named_modules() if isinstance(layer, torch.nn.Dropout)}
        if not layers:
            raise NotApplicable("this network has no dropout layer")
        old = next(iter(layers.values())).p
        undo = SettingsReversal([
            Setting(("dropout", name), lambda p, layer=layer: setattr(layer, "p", p), layer.p, self.share)
            for name, layer in layers.items()
        ])
        for layer in layers.values():
            layer.p = self.share
        return Outcome(f"{old:g}", f"{self.share:g}", f"dropout leaves out {self.share:.0%}", undo)


diorama.commands.register("dropout", Dropout)

folder = sys.argv[1] if len(sys.argv) > 1 else "dropout"
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
with diorama.watch(model, folder, optimizer=torch.optim.SGD(model.parameters(), 0.1)) as recorder:
    run = diorama.open(folder)
    for name, knobs in (("dropout", {"share": 0.1}), ("undo", {})):
        with contextlib.suppress(Unavailable):  # this very loop applies it, at its next step: there is no waiting for the answer
            run.command(name, wait=0, **knobs)
        recorder.step(loss=1.0)
        print(name, model[1].p)
print([event.text for event in diorama.open(folder).events if event.kind == "command"])
