"""A demo: data, a network and a loop that is recorded. Its name goes behind `diorama demo`."""

import sys

import numpy as np
import torch

import diorama
from diorama.plugins import Demo, Examples, UsageError


class Parity(Demo):
    """Is the number of ones even?"""

    question = "Can a network count?"

    def examples(self):
        """All words of eight bits; a fifth is held out."""
        x = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.float32)
        return Examples.of(x, x.sum(1).astype(int) % 2, ["even", "odd"])

    def accept(self, examples):
        """Somebody's own data, where they are of this kind."""
        if examples.x.ndim != 2:
            raise UsageError("this demo reads rows of numbers")
        return examples

    def network(self, examples):
        """One hidden layer."""
        return torch.nn.Sequential(torch.nn.Linear(examples.x.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))


diorama.demos.register("parity", Parity)

folder = sys.argv[1] if len(sys.argv) > 1 else "parity"
Parity(pace=0.0).run(folder, steps=20)
print(diorama.open(folder).last_step)
