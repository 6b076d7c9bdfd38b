"""Which views fit a network is told at once: the page shows nothing before it knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diorama.core.registry import views
from diorama.scene import Scene


@pytest.mark.parametrize("told", [True, False], ids=["truth", "no truth"])
def test_whether_a_view_fits_is_told_from_a_few_examples(told: bool) -> None:
    """The page waits for it before it shows anything: no view runs the whole probe set to tell, however large the network."""
    x, rows = torch.rand(64, 1, 8, 8), list[int]()
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 3))
    scene = Scene(model, x, torch.arange(64) % 3 if told else None, classes=("zero", "one", "two"), task="classification")
    scene.model.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    many = {}
    for name in views:
        del rows[:]
        views[name].fits(scene)
        many[name] = max(rows, default=0)
    assert {name: count for name, count in many.items() if count > 16} == {}
