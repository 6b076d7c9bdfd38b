"""Laws of attention: the same function, however it is written, has the same queries, keys, values and patterns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from attentions import WRITTEN, ByHand, Windows, attentive
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable, NotFound
from diorama.model.capture import Capture
from diorama.model.kernels import attention
from diorama.model.points import points

TOGETHER = [name for name in WRITTEN if name != "looped"]


class Torchs(nn.Module):
    """Torch's multi-head attention with the weights of the written ones."""

    def __init__(self) -> None:
        super().__init__()
        own = WRITTEN["kernel"]()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.attn.in_proj_weight, self.attn.in_proj_bias = own.qkv.weight, own.qkv.bias
        self.attn.out_proj.weight, self.attn.out_proj.bias = own.proj.weight, own.proj.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x, x, x, need_weights=False)[0]


def _kept(name: str, *keys: str, edits: Any = ()) -> dict[str, Tensor]:
    """What lies at points of the first attention (``query`` and so on), and what that attention answers."""
    model, x = attentive(Torchs if name == "torchs" else WRITTEN[name])
    label = "attn.0.attn" if name == "torchs" else "attn.0"
    full = [{**edit, "key": edit["key"].replace("HERE", label)} for edit in edits]
    with Capture(model, [*(f"{key}:{label}" for key in keys), "attn.0"], edits=full) as look:
        look(x)
    return {**{key: look[f"{key}:{label}"] for key in keys}, "out": look["attn.0"]}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_way_to_write_an_attention_has_the_same_weights(name: str) -> None:
    """A softmax between two products is an attention, and its weights are those of torch's kernel; heads in a loop too."""
    model, x = attentive(WRITTEN[name])
    found, wanted = attention(model, x), attention(*attentive(WRITTEN["kernel"]))
    if name == "looped":
        found = {label: torch.cat([found[label], found[f"{label}#2"]], 1) for label in wanted}
    assert found.keys() == wanted.keys() == {"attn.0", "attn.1"}
    assert all(torch.allclose(found[label], wanted[label], atol=1e-6) for label in wanted)
    assert torch.allclose(model(x), attentive(WRITTEN["kernel"])[0](x), atol=1e-5)


@pytest.mark.parametrize("name", ["torchs", *TOGETHER])
def test_queries_keys_values_and_patterns_are_the_same_places(name: str) -> None:
    """The parts follow the formula, and silencing a head of any of them does what it does in torch's kernel."""
    parts = ("query", "key", "value", "pattern")
    look, wanted = _kept(name, *parts), _kept("kernel", *parts)
    assert all(look[part].shape == (4, 2, 6, 6 if part == "pattern" else 4) for part in parts)
    assert torch.allclose(look["value"], wanted["value"], atol=1e-6)
    scale = 1.0 if name == "merged" else 1 / math.sqrt(4)  # that one scales its queries
    assert torch.allclose((look["query"] @ look["key"].mT * scale).softmax(-1), look["pattern"], atol=1e-6)
    for part in parts:
        for key in (f"{part}:HERE/1", f"{part}:HERE/1@2,3", f"{part}:HERE"):
            edits = [{"key": key, "scale": 0.5}]
            cut, same = _kept(name, edits=edits)["out"], _kept("kernel", edits=edits)["out"]
            assert torch.allclose(cut, same, atol=1e-6), key
            assert not torch.allclose(cut, look["out"], atol=1e-6), key


@pytest.mark.parametrize("name", ["torchs", *TOGETHER])
def test_a_silenced_head_is_silent_however_it_is_written(name: str) -> None:
    """An edit of a head of attention changes what the layer answers by exactly that head."""
    edits = [{"key": "head:HERE/1", "lesion": True}]
    assert torch.allclose(_kept(name, edits=edits)["out"], _kept("kernel", edits=edits)["out"], atol=1e-6)


@pytest.mark.parametrize("name", ["kernel", *TOGETHER])
def test_slopes_at_a_pattern_are_those_of_finite_differences(name: str) -> None:
    """A kept pattern lies on the path to the answer, and its gradient is right."""
    model, x = attentive(WRITTEN[name])
    model, x = model.double(), x.double()
    with Capture(model, ["pattern:attn.0"], grad=True) as look:
        (slope,) = torch.autograd.grad(look(x)[:, 0].sum(), look["pattern:attn.0"])
    pattern, step = look["pattern:attn.0"].detach(), torch.zeros_like(slope)
    step[1, 1, 2, 3] = 1e-5
    ends = []
    for moved in (pattern + step, pattern - step):
        with Capture(model, edits=[{"key": "pattern:attn.0", "patch": moved}]) as look:
            ends.append(look(x)[:, 0].sum())
    assert torch.isclose((ends[0] - ends[1]) / 2e-5, slope[1, 1, 2, 3], rtol=1e-4, atol=1e-9)


def test_windows_that_share_an_axis_with_the_examples_are_told_apart() -> None:
    """Windows as in Swin are no heads: a unit of the pattern is a head in all windows, and rows sum to one."""
    model, x = attentive(Windows)
    point = points(model, x)["pattern:attn.0"]
    assert (point.shape, point.units, point.unit_axis) == ((2, 2, 3, 3), 2, 2)
    with Capture(model, ["pattern:attn.0"], edits=[{"key": "pattern:attn.0/1", "lesion": True}]) as look:
        look(x)
    assert look["pattern:attn.0"][:, :, 1].abs().max() == 0
    assert torch.allclose(look["pattern:attn.0"][:, :, 0].sum(-1), torch.ones(4, 2, 3))


def test_a_softmax_by_hand_is_named() -> None:
    """Exp and sum by hand are no op that says what it is: the refusal names the layer in which they run."""
    model, x = attentive(ByHand)
    with pytest.raises(NotApplicable, match="not recognised: attn.0 .a softmax of exp and sum by hand"):
        attention(model, x)
    with pytest.raises(NotApplicable, match="not recognised: attn.0"):
        diorama.attribute(model, x, target=1, method="attention_rollout")
    with pytest.raises(NotFound, match="no attention named 'head'"):
        points(*attentive(WRITTEN["written"]))["pattern:head"]


@pytest.mark.parametrize("method", ["attention_rollout", "attention_x_gradient"])
@pytest.mark.parametrize("name", WRITTEN)
def test_methods_of_attention_see_every_way_to_write_it(name: str, method: str) -> None:
    """Attention followed through the layers gives one map, however the attention is written."""
    model, x = attentive(WRITTEN[name])
    found = diorama.attribute(model, x, target=1, method=method)
    wanted = diorama.attribute(*attentive(WRITTEN["kernel"]), target=1, method=method)
    assert torch.allclose(found.values, wanted.values, atol=1e-6)
    assert wanted.values.abs().max() > 0


def test_a_residual_stream_is_the_sum_that_a_layer_goes_into() -> None:
    """What an attention or a network of a block adds to is found by the layer's name, and read and edited there."""
    model, x = attentive(WRITTEN["written"])
    known = points(model, x)
    assert [known[f"residual:{layer}"].op for layer in ("attn.0", "mlp.0", "attn.1")] == ["add", "add#2", "add#3"]
    with Capture(model, ["residual:mlp.0", "op:add#2"]) as look:
        look(x)
    assert torch.equal(look["residual:mlp.0"], look["op:add#2"])
    with pytest.raises(NotApplicable, match="what out answers goes into no sum"):
        known["residual:out"]
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=False).eval()
    own = points(nn.Sequential(encoder), torch.randn(3, 5, 8))
    assert own["residual:0"].op == own["residual:0.linear2"].op == "0.add#2"
