"""Work on which another process is: views wait for what it makes, and draw that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import diorama
from diorama.derive.derivation import DerivedValue, Stage
from diorama.scene import Scene
from diorama.views.relate import ROOM


@pytest.mark.parametrize("view", sorted({place.view for place in ROOM.training}))
def test_a_view_waits_for_what_another_process_makes(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the other process ends there is no value; each view of the room says how far it is, and draws in the end."""
    own = DerivedValue.stream

    def waited(self: DerivedValue) -> Iterator[Stage]:
        yield Stage(None, 0.0, 1.0, "another process works on it; what it makes is shared")
        yield from own(self)

    monkeypatch.setattr(DerivedValue, "stream", waited)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, other = (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)) for _ in range(2)
        )
        x, y = torch.rand(40, 1, 8, 8), torch.arange(40) % 3
    scene = Scene(one, x, y, inputs=diorama.Image(range=(0, 1)))
    picture = scene.view(view, **({"other": Scene(other, x, y)} if view == "differences" else {}))
    assert picture.caption
