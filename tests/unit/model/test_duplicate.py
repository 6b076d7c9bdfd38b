"""A model's double: equal answers, nothing shared, whatever the model holds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from diorama.model.duplicate import duplicate


class _Keeping(nn.Module):
    """Keeps results of its last pass in a list, ties two weights, and holds a sparse one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.mask = nn.Parameter(torch.eye(3).to_sparse())
        self.kept: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.kept = [self.first(x)]
        return self.second(self.kept[0]) @ self.mask.to_dense()


def test_what_torch_refuses_to_copy_is_copied() -> None:
    """A model that keeps a result with its graph has a double with the same answers and ties, and none of its memory."""
    model, x = _Keeping(), torch.randn(2, 3)
    answer = model(x)
    with pytest.raises(RuntimeError):
        copy.deepcopy(model)
    double = duplicate(model)
    assert torch.equal(double.kept[0], model.kept[0])
    assert model.kept[0].requires_grad
    assert torch.equal(double(x), answer)
    assert double.first.weight is double.second.weight
    assert isinstance(double.mask, nn.Parameter)
    assert double.mask.is_sparse
    with torch.no_grad():
        double.first.weight.zero_()
        double.mask.zero_()
    assert torch.equal(model(x), answer)
