"""An attribution method: a generator of attributions, the last of which is final."""

import torch

import diorama
from diorama.plugins import Cost, Method


class Steepness(Method):
    """How much the target changes with each number of the input, whichever way."""

    signed = False

    def cost(self, look, x):
        """One pass there and back."""
        return Cost(forward=1, backward=1)

    def attribute(self, look, x, target):
        """The size of each slope."""
        points = look.points(x)
        there = look.run(x, target, points, grad=True)
        slopes = look.gradients(there.value, points)
        yield self.found(look, x, target, look.shaped(x, [slope.abs() for slope in slopes]), there.value)


diorama.methods.register("steepness", Steepness)

model, x = torch.nn.Linear(4, 3), torch.randn(5, 4)
heat = diorama.attribute(model, x, target=2, method="steepness")
assert torch.equal(heat.values, model.weight[2].abs().expand(5, 4))
print(heat.values[0], heat.provenance)
