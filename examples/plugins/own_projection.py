"""An algorithm of projection: many numbers of each example as two or three. It is chosen by its name."""

import numpy as np
import torch

import diorama
from diorama.plugins import Placement, Projection, knob


class Random(Projection):
    """Examples as a few random directions see them."""

    seed: int = knob(0, "Decides the directions.", low=0)

    def placed(self, rows, dimensions, start, begun):
        """In one go; slow work yields each better place, with the state to go on from."""
        ways = np.random.default_rng(self.seed).normal(size=(rows.shape[1], dimensions))
        yield Placement(rows @ ways / np.sqrt(dimensions))


diorama.projections.register("random", Random)

model, x = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)), torch.randn(20, 8)
print(diorama.Scene(model, x).derive("projection", layer="1", method="random").value.shape)
