"""What one picture asks of a network is asked once, and anew for the next picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.core.marks import Number
from diorama.scene import Scene


def test_an_example_passes_once_and_anew_for_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inspector's scores, loss and answer of an example come from one pass; another example, edits, other weights and a picture made
    again each have their own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    scene = diorama.Scene(model, torch.randn(20, 4), torch.arange(20) % 3)
    single, looked = [], Scene._looked

    def counted(self: Scene, x: Any, *rest: Any, **how: Any) -> Any:
        single.append(len(x))
        return looked(self, x, *rest, **how)

    monkeypatch.setattr(Scene, "_looked", counted)

    def loss(scene: Scene, example: int) -> float:
        single.clear()
        marks = scene.view("inspector", select=f"example:{example}").marks()
        assert single == [1]
        (found,) = [float(mark.value) for mark in marks if isinstance(mark, Number) and mark.label == "loss"]
        return found

    first, other, again = loss(scene, 3), loss(scene, 4), loss(scene, 3)
    edited = loss(scene.edit("layer:0", lesion=True), 3)
    with torch.no_grad():
        model[2].weight.mul_(2)
    trained = loss(scene, 3)
    assert again == pytest.approx(first, rel=1e-5)
    for one, two in ((first, other), (first, edited), (first, trained), (edited, trained)):
        assert abs(one - two) > 1e-3
