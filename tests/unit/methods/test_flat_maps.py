"""Maps that tell no part of an input from another say so, whatever the method."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import diorama

SAME = "The map is the same everywhere"


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient", "integrated_gradients", "occlusion", "grad_cam"])
def test_a_map_that_is_flat_says_so(method: str) -> None:
    """A mean over all places weighs them alike: of an even input the map is flat; of a net that looks at one side it is not."""
    mean = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    side = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    for net in (mean, side):
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        side[3].weight[:, ::2] = 0.25
    x = torch.ones(2, 1, 4, 4)
    knobs = {"size": 1, "stride": 1} if method == "occlusion" else {}
    assert SAME in diorama.attribute(mean, x, target=0, method=method, **knobs).note
    assert "zero everywhere" not in diorama.attribute(mean, x, target=0, method=method, **knobs).note
    assert SAME not in diorama.attribute(side, x * torch.linspace(1, 2, 4), target=0, method=method, **knobs).note
    one = nn.Linear(1, 2)
    if method in ("gradient", "input_x_gradient"):
        assert SAME not in diorama.attribute(one, torch.ones(2, 1), target=0, method=method).note
