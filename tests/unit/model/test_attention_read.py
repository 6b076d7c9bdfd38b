"""What an attention reads: lines along its values, for all ways in which it holds its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama.scene import Scene, wiring


class _Looks(nn.Module):
    """An attention between two dense layers; ``beside`` asks from another layer than it reads its values from."""

    def __init__(self, beside: bool = False, **options: Any) -> None:
        super().__init__()
        wide = options.get("vdim", 6)
        self.one, self.other = nn.Linear(4, 6), nn.Linear(4, wide)
        self.attn, self.out, self.beside = nn.MultiheadAttention(6, 2, batch_first=True, **options), nn.Linear(6, 3), beside

    def forward(self, x: Tensor) -> Tensor:
        """Scores of three classes."""
        value = self.other(x)
        query = self.one(x) if self.beside else value
        return self.out(self.attn(query, value, value)[0].mean(1))


def _scene(model: nn.Module) -> Scene:
    torch.manual_seed(1)
    return Scene(model.eval(), torch.randn(20, 5, 4), torch.arange(20) % 3, task="classification")


@pytest.mark.parametrize(("beside", "options"), [(False, {}), (True, {}), (True, {"kdim": 5, "vdim": 5}), (True, {"bias": False})])
def test_an_attention_is_read_along_its_values(beside: bool, options: dict[str, Any]) -> None:
    """Its strengths are what its answers change by where all tokens' values do; what it only asks with is named, not drawn."""
    torch.manual_seed(0)
    model = _Looks(beside, **options)
    scene = _scene(model)
    found = wiring.reads(scene, scene.layers["attn"])
    assert set(found) == {"other"}
    assert wiring.lost(scene, scene.layers["attn"]) == (("one",) if beside else ())
    # By hand: where every value moves by the same, so does what is looked at, wherever that is.
    query, value = torch.randn(1, 5, 6), torch.randn(1, 5, options.get("vdim", 6))
    key = value
    with torch.no_grad():
        usual = model.attn(query, key, value)[0]
        slopes = [(model.attn(query, key, value + unit)[0] - usual)[0, 2].numpy() for unit in torch.eye(value.shape[-1])]
    np.testing.assert_allclose(found["other"], np.array(slopes).T, atol=1e-4)
    assert set(wiring.reads(scene, scene.layers["out"])) == {"attn"}
    np.testing.assert_allclose(wiring.reads(scene, scene.layers["out"])["attn"], model.out.weight.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("first", [False, True])
def test_the_stream_of_a_transformer_is_followed_through_its_attentions(first: bool) -> None:
    """Of ``nn.TransformerEncoder`` every layer has lines by weights from all that wrote to what it reads, and nothing is named as lost."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=first)
    scene = _scene(nn.Sequential(nn.Linear(4, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(40, 3)))
    names = [one.name for one in wiring.weighted(scene)]
    told = {name: set(wiring.reads(scene, scene.layers[name])) & set(names) for name in names}
    assert not any(wiring.lost(scene, scene.layers[name]) for name in names)
    stream = ["0", "1.layers.0.self_attn", "1.layers.0.linear2", "1.layers.1.self_attn", "1.layers.1.linear2"]
    for number in (0, 1):
        assert told[f"1.layers.{number}.self_attn"] == set(stream[: 1 + 2 * number])
        assert told[f"1.layers.{number}.linear1"] == set(stream[: 2 + 2 * number])
        assert told[f"1.layers.{number}.linear2"] == {f"1.layers.{number}.linear1"}
    assert "correlation" not in scene.view("neighbourhood", unit="1.layers.1.linear1/0").note
    assert "correlation" not in scene.view("springs", most=8).note
