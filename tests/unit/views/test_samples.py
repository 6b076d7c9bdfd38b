"""How much of a whole a view of the room of relations shows."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.core.registry import views
from diorama.scene import Scene
from diorama.views.samples import layers_said, part

_UNITS = {"clusters", "communities", "neighbourhood", "springs", "units", "matrix"}
"""Those that show units: they tell of how many."""
_OTHERS = {"parts"}
"""Those that look at one example, whose parts come from the live ones; they want pictures."""
_CHOSEN = ["example:0-40"]
_KNOBS: dict[str, dict[str, Any]] = {
    "shared": {"select": _CHOSEN}, "subgroup": {"select": _CHOSEN}, "serving": {"count": 2, "examples": 16},
    "needed": {"examples": 8}, "communities": {"probed": 8, "count": 2}, "units": {"layer": "2", "method": "pca"},
    "clusters": {"count": 2, "inside": "0"}, "projection": {"method": "pca"},
}


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 1030), nn.ReLU(), nn.Linear(1030, 1030), nn.ReLU(), nn.Linear(1030, 2))


@pytest.fixture(scope="module")
def wide() -> Scene:
    """More units than any view shows, and more examples than any looks at."""
    torch.manual_seed(0)
    x = torch.rand(1600, 3)
    return diorama.Scene(_net(), x, (x[:, 0] > 0.5).long())


@pytest.mark.parametrize("name", [name for name in views if views[name].room == "relate" and name not in _OTHERS])
def test_every_picture_of_a_part_says_of_how_many(wide: Scene, name: str) -> None:
    """A view that looks at some of the examples, or shows some of the units, says how many of how many in the picture."""
    more = {"other": diorama.Scene(_net(), wide.examples.x, wide.examples.y)} if name == "differences" else {}
    picture = wide.view(name, **_KNOBS.get(name, {}), **more)
    said = f"{picture.caption} {picture.note}"
    assert name == "neighbourhood" or re.search(r"\b[\d,]+ of 1,600 examples\b", said), said
    assert name not in _UNITS or re.search(r"\b[\d,]+ of (1,030|2,060|2,062) units\b", said), said


def test_a_part_is_told_with_its_whole() -> None:
    """All of a whole is a plain number, one of it is in the singular."""
    assert [part(1000, 2000, "units"), part(2000, 2000, "units"), part(1, 1, "units"), part(1, 3, "units")] == [
        "1,000 of 2,000 units", "2,000 units", "1 unit", "1 of 3 units",
    ]
    assert [layers_said(names) for names in (["a", "b"], ["a", "b", "b#2"], ["a"], ["op:add", "op:add#2"])] == [
        "2 layers", "2 layers in 3 calls", "1 layer", "2 layers",
    ]
