"""Layers may be called anything that torch allows: keys find them as they are written, and percent-encoded."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.selection import Key, layer_key, unit_key
from diorama.training.subject import Subject
from diorama.training.unit_weights import LayerWeights, UnitWeights

NAMES = ("出力/0@1", "a b", "x%2Fy", "p/3", "q@2", "r#2", "c:d", "50%", "é+ü", "layer", "a=b&c", "?q", "l0/reverse")


class Named(nn.Module):
    """Layers of these names, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        for name in NAMES:
            self.add_module(name, nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        """All of them."""
        for name in NAMES:
            x = getattr(self, name)(x).sigmoid()
        return x


@pytest.fixture(scope="module")
def scene() -> diorama.Scene:
    """A network of such layers."""
    torch.manual_seed(0)
    return diorama.Scene(Named().eval(), torch.randn(4, 6))


@pytest.mark.parametrize("name", NAMES)
def test_every_way_to_write_a_name_finds_its_layer(scene: diorama.Scene, name: str) -> None:
    """As an edit, a target, a knob, a selection and the layer of a command."""
    subject = Subject(scene.model)
    with torch.no_grad():
        handle = getattr(scene.model, name).register_forward_hook(lambda module, given, out: out * (torch.arange(6) != 1))
        wanted = scene.model(scene.examples.x)
        handle.remove()
    for own in (name, quote(name, safe="")):
        assert torch.allclose(scene.edit(f"unit:{own}/1", lesion=True).scores(), wanted, atol=1e-6)
        assert scene.layers[own].name == scene.layers[f"layer:{own}"].name == name
        assert scene.layers.keyed(Key.parse(f"layer:{own}")).name == name
        found = diorama.attribute(scene.model, scene.examples.x, f"unit:{own}/1")
        assert found.target == unit_key(name, 1)
        assert torch.allclose(scene.edit(f"op:{own}.linear/1", lesion=True).scores(), wanted, atol=1e-6)
        weights = UnitWeights.of(subject, f"unit:{own}/1")
        assert [place.name for place, _ in weights.weights()] == [f"{name}.weight", f"{name}.bias"]
        assert [place for place, _ in LayerWeights.of(subject, own).parts] == [f"{name}.weight", f"{name}.bias"]
        assert subject.frozen.freeze(own) == 42
        subject.frozen.thaw(own)
    assert Key.parse(layer_key(name)).name == Key.parse(unit_key(name, 1, (2, 3))).name == name
    if name != "layer":  # which is the word for a kind as well
        assert torch.allclose(scene.edit(f"{name}/1", lesion=True).scores(), wanted, atol=1e-6)
