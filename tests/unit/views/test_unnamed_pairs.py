"""Two networks of one name, neither of a run: this one and the other one are told apart, and no step is made up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diorama.core.picture import Picture
from diorama.scene import Scene


def _scene(width: int) -> Scene:
    torch.manual_seed(width)
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    return Scene(nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3)), x, torch.arange(40) % 3)


def _words(picture: Picture) -> str:
    """All that it says of networks: its title, caption, note, and what its marks and their axes are called."""
    told = [picture.title, picture.caption, picture.note]
    for mark in picture.marks():
        told += [getattr(mark, name, "") for name in ("title", "caption", "column_title", "row_title")]
    return " | ".join(told)


@pytest.mark.parametrize(
    ("name", "knobs"),
    [("structure", {}), ("projection", {}), ("differences", {}), ("matrix", {"of": "layers"}), ("confusion", {}), ("examples", {}), ("compare", {})],
)
def test_two_of_one_name_are_this_and_the_other(name: str, knobs: dict[str, str]) -> None:
    """No view says "step None", nor calls both by the name that they share."""
    words = _words(_scene(5).view(name, other=_scene(4), **knobs))
    assert "None" not in words
    assert "other network" in words, words
    assert words.count("Sequential") == 0, words
