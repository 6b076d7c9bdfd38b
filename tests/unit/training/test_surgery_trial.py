"""A change of shape is tried on a copy: what is looked at there, and what that costs."""

from __future__ import annotations

from typing import Any

import grown_nets
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.training.surgery.units import add_units
from diorama.training.surgery.widths import follow


class _Narrow(torch.autograd.Function):
    """A product with a matrix, whose backward pass counts on six rows of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return grads[0] @ weight.T, (x.T @ grads[0])[:6]


class _Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight, self.last = nn.Linear(5, 6, bias=False), nn.Parameter(torch.randn(6, 4)), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(_Narrow.apply(self.first(x).relu(), self.weight))


def test_gradients_of_another_shape_are_found_on_the_copy() -> None:
    """A backward pass that counts on the old width refuses the act, though no weight of one axis asks for gradients."""
    model, x = grown_nets.made(_Fixed, lambda: torch.randn(6, 5))
    with pytest.raises(diorama.NotApplicable, match="invalid gradient"):
        add_units(model, x, "first", 2)
    assert model.first.weight.shape == (6, 5)


def test_following_a_pass_leaves_the_collector_little_to_do() -> None:
    """No set is made for each unit: the collector would walk over all that lives, in the middle of an act, for half a step's time."""
    model, x = grown_nets.made(lambda: nn.Sequential(nn.Linear(5, 4000), nn.ReLU(), nn.Linear(4000, 3)), lambda: torch.randn(6, 5))
    widths, _ = follow(model, x, {})
    assert len(widths.parent) > 4000
    assert len(widths.marks) < 100
