"""Discrepancy against plain loops, and the receptive field against the one worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotApplicable


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(),
        nn.Linear(2 * 100, 3),
    ).eval()


def test_the_field_of_a_unit() -> None:
    """A unit sees 8 × 8 pixels here: by hand, by the reach, and nothing outside of it moves the unit."""
    model, x = _net(), torch.rand(3, 1, 20, 20)
    found = diorama.attribute(model, x, "unit:3/1@5,6", method="discrepancy", size=1, stride=1, share=0.0)
    # Place 5, 6 of the second convolution reads places 4–6, 5–7 of the pooling: pixels 8–13, 10–15, and one around.
    assert found.maps["reach"].tolist() == [7, 9, 15, 17]
    outside = found.maps["field"].copy()
    outside[7:15, 9:17] = 0
    assert not outside.any()
    assert found.checks["theoretical field"] == 8
    assert 4 <= found.checks["measured field"] <= 8
    assert float(found.values.min()) >= 0


def test_equals_plain_loops() -> None:
    """With one colour the change is that of covering by it, here worked out window by window."""
    model = _net()
    x = torch.rand(1, 1, 20, 20)
    found = diorama.attribute(model, x, 1, method="discrepancy", size=5, stride=5, draws=3)
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(400, (3, 400), generator=generator)
    with torch.no_grad():
        for top in range(0, 20, 5):
            for left in range(0, 20, 5):
                total = 0.0
                for draw in range(3):
                    covered = x.clone()
                    other = x.flatten()[index[draw]].reshape(20, 20)
                    covered[0, 0, top : top + 5, left : left + 5] = other[top : top + 5, left : left + 5]
                    total += abs(float(model(covered)[0, 1] - model(x)[0, 1])) / 3
                assert float(found.values[0, 0, top + 2, left + 2]) == pytest.approx(total, abs=1e-5)


def test_rows_have_no_field() -> None:
    """A table's row is refused with what to use."""
    with pytest.raises(NotApplicable, match="use occlusion"):
        diorama.attribute(nn.Linear(4, 2), torch.randn(1, 4), 0, method="discrepancy")


def test_a_volume_is_changed_slice_by_slice() -> None:
    """What reads one place of one slice alone is moved by the windows over that place, and the field is a volume."""
    weight = torch.zeros(1, 1, 4, 6, 6)
    weight[0, 0, 2, 1, 4] = 1.0

    class Place(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * weight).flatten(1).sum(1, keepdim=True).expand(-1, 2) * torch.tensor([1.0, -1.0])

    x = torch.randn(2, 1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    found = diorama.attribute(Place(), x, target=0, method="discrepancy", size=1, stride=1)
    moved = torch.as_tensor(found.values)
    assert moved.shape == x.shape
    assert bool((moved[:, 0, 2, 1, 4] > 0).all())
    assert int((moved != 0).sum()) == len(x)
    assert np.argwhere(found.maps["field"] > 0).tolist() == [[2, 1, 4]]
