"""Views that look at examples look at as many as one asks for, also beyond the first 512, and say how many of how many."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diorama.core.marks import Heatmap, Table
from diorama.scene import Scene

SAID = "600 of 700 examples"


@pytest.fixture(scope="module")
def pair() -> tuple[Scene, Scene]:
    """Rows of three heaps, of which the third comes after the first 512 alone, read by two nets that differ in what they say of it."""
    y = torch.arange(700) % 2
    y[512::2] = 2
    x = 2 * torch.eye(3)[y] + 0.2 * torch.randn(700, 3, generator=torch.Generator().manual_seed(0))
    scenes = []
    for third in (2.0, -2.0):
        net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        with torch.no_grad():
            for layer, last in ((net[0], 1.0), (net[2], third)):
                layer.weight.copy_(torch.diag(torch.tensor([2.0, 2.0, last])))
                layer.bias.zero_()
        scenes.append(Scene(net, x, y, task="classification"))
    return scenes[0], scenes[1]


@pytest.mark.parametrize(("name", "knobs"), [
    ("mixing", {}), ("differences", {}), ("matrix", {}), ("neighbourhood", {"edges": "together"}), ("needed", {}), ("serving", {}),
])
def test_a_view_looks_at_as_many_examples_as_one_asks_for(name: str, knobs: dict[str, str], pair: tuple[Scene, Scene]) -> None:
    """What is only there beyond the first 512 is seen where 600 are asked for; the picture says how many of how many it is of."""
    scene, other = pair
    select = ("class:2",) if name == "serving" else ()
    told = {"other": other} if name == "differences" else {}
    picture = scene.view(name, select=select, examples=600, **knobs, **told)
    assert SAID in picture.caption + picture.note
    marks = list(picture.marks())
    if name == "mixing":
        assert "0 | 2" in next(mark for mark in marks if isinstance(mark, Heatmap)).row_labels
    if name == "differences":
        keys = next(mark for mark in marks if isinstance(mark, Table)).row_keys
        assert keys
        assert all(int(key.removeprefix("example:")) >= 512 for key in keys)
    if name == "matrix":
        assert next(mark for mark in marks if isinstance(mark, Heatmap)).values.shape[1] == 600
