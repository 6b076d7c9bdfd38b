"""A signal: numbers of a step by name, which become series of the run. What it needs is collected for it."""

import sys

import torch

import diorama
from diorama.plugins import Signal


class Movement(Signal):
    """How far each weight moved in a step, as a share of its length."""

    needs = frozenset({"updates"})

    def __call__(self, step):
        """One number a weight."""
        return {f"{name}/movement": moved.norm / step.before[name] for name, moved in step.updates.items() if step.before.get(name)}


diorama.signals.register("movement", Movement)

folder = sys.argv[1] if len(sys.argv) > 1 else "movement"
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.01)
with diorama.watch(model, folder, optimizer=optimizer, every=1) as recorder:
    for _ in range(3):
        loss = model(torch.ones(8, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss)
print(diorama.open(folder).series("weight/movement"))
