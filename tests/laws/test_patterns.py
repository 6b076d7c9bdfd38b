"""Laws of attention: the same function, however it is written, has the same queries, keys, values and patterns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from attentions import SCORED, WRITTEN, Answers, Axes, ByHand, Mixture, Pooled, Scored, Shared, Windows, attentive
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable, NotFound, UsageError
from diorama.model.capture import Capture
from diorama.model.kernels import attention
from diorama.model.points import points
from diorama.views.training import structure
from diorama.views.training.structure import _attends

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


@pytest.mark.parametrize("way", ["axis", "equation", "groups"])
def test_heads_that_share_their_keys_and_values_are_told_apart(way: str) -> None:
    """Where all heads, or those of a group, have the same keys and values, one head can be silenced by itself."""
    torch.manual_seed(0)
    model, x = Shared().eval(), torch.randn(4, 6, 8)
    model.way = way
    heads = 4 if way == "groups" else 2
    assert attention(model, x)["attention"].shape == (4, heads, 6, 6)
    for head in range(heads):
        with Capture(model, edits=[{"key": f"head:attention/{head}", "lesion": True}]) as look:
            assert torch.allclose(look(x), model(x, silent=head), atol=1e-6)


def _axes(way: str) -> tuple[Axes, Tensor]:
    torch.manual_seed(0)
    model = Axes().eval()
    model.way = way
    return model, torch.randn(4, 6, 8)


@pytest.mark.parametrize("way", ["heads last", "a layer of heads", "renormalized"])
def test_a_pattern_is_what_weighs_the_values_whatever_its_axes(way: str) -> None:
    """The pattern is read (n, heads, queries, keys) where the heads lie last, and behind what changes a softmax."""
    model, x = _axes(way)
    model(x)
    kept = model.kept
    assert torch.allclose(attention(model, x)["attention"], kept, atol=1e-6)
    for edits in ([{"key": "head:attention/1", "lesion": True}], [{"key": "pattern:attention/1", "lesion": True}]):
        with Capture(model, edits=edits) as look:
            cut = look(x)
        head = (kept * torch.tensor([1.0, 0.0])[:, None, None]) @ model.heads(x)[2]
        assert torch.allclose(cut, model.proj(head.transpose(1, 2).reshape(x.shape)), atol=1e-6)


@pytest.mark.parametrize(("way", "reason"), [
    ("over queries", "over those that ask"), ("slots", "over those that ask"), ("talking", "mixed with others"), ("differential", "mixed"),
    ("clamped", "changed"), ("best", "picked"), ("best before", "picked"),
])
def test_an_attention_that_is_not_recognised_is_named_with_the_reason(way: str, reason: str) -> None:
    """What weighs values by other shares than a softmax over those that are asked has no pattern, and it is said why."""
    model, x = _axes(way)
    with pytest.raises(NotApplicable, match=f"not recognised: the model .*{reason}"):
        points(model, x)["pattern:attention"]


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
    with pytest.raises(NotApplicable, match="not recognised: attn.0"), Capture(model, edits=[{"key": "head:attn.0/1", "lesion": True}]) as look:
        look(x)
    with pytest.raises(NotApplicable, match="not recognised: attn.0"):
        diorama.attribute(model, x, target=1, method="attention_rollout")
    with pytest.raises(NotFound, match="no attention named 'head'"):
        points(*attentive(WRITTEN["written"]))["pattern:head"]


@pytest.mark.parametrize("way", SCORED)
def test_places_that_are_scored_and_summed_up_are_an_attention(way: str) -> None:
    """However the shares are made and the sum is written, they are read as a pattern of one that asks, and without them nothing comes in."""
    model, x = Scored(way).eval(), torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1))
    wanted = model.score(torch.tanh(model.near(x)))[..., 0].softmax(1)
    assert torch.allclose(attention(model, x)["attention"], wanted[:, None, None], atol=1e-6)
    with Capture(model, edits=[{"key": "head:attention/0", "lesion": True}]) as look:
        assert torch.allclose(look(x), model.out.bias.expand(4, 3), atol=1e-6)
    with pytest.raises(NotApplicable, match="attention makes its scores without a product"):
        points(model, x)["query:attention"]


def test_a_loop_that_asks_once_a_step_is_one_attention() -> None:
    """The steps of a decoder are the rows of one map; one query without an axis is seen, and shares of experts are no attention."""
    x = torch.randn(24, 6, 5, generator=torch.Generator().manual_seed(1))
    scene = diorama.Scene(Answers().eval(), x)
    rows = attention(scene.model, x[:1])
    found = scene.derive("attention", example=0).value
    assert np.array_equal(found[0], np.concatenate([own[0, 0] for own in rows.values()]))
    assert found.shape == (1, 4, 6)
    assert np.allclose(found.sum(-1), 1, atol=1e-5)
    measures = scene.derive("heads").value
    assert (measures["layers"], measures["values"].shape[1:]) == (["attention"], (1, 1))
    assert not torch.allclose(scene.edit("head:attention/0", lesion=True).scores()[:, -1], scene.scores()[:, -1])
    pooled = attention(*attentive(Pooled))["attn.0"]
    assert pooled.shape == (4, 1, 1, 6)
    assert torch.allclose(pooled.sum(-1), torch.ones(4, 1, 1))
    with pytest.raises(NotApplicable, match="runs no attention"):
        attention(Mixture().eval(), x)


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


@pytest.mark.parametrize("method", ["lrp", "deep_lift"])
def test_relevance_goes_the_same_way_through_every_way_to_write_it(method: str) -> None:
    """LRP and DeepLIFT of one function are one map, however its attention is written."""
    wanted = diorama.attribute(*attentive(WRITTEN["kernel"]), target=1, method=method).values
    assert wanted.abs().max() > 0
    for name in WRITTEN:
        found = diorama.attribute(*attentive(WRITTEN[name]), target=1, method=method).values
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max())), name


class _Twice(nn.Module):
    """Calls an op twice."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(torch.softmax(x, -1), -1)


def test_a_scene_takes_points_wherever_it_takes_layers() -> None:
    """Views, edits, scans, targets and directions take an op or a part of an attention by its key, and a short ending too."""
    model, x = attentive(WRITTEN["written"])
    x = torch.randn(24, 6, 5, generator=torch.Generator().manual_seed(3))
    scene = diorama.Scene(model, x, torch.arange(24) % 3)
    assert "op:attn.1.softmax" not in scene.layers.names
    assert scene.layers["op:1.softmax"].name == "op:attn.1.softmax"
    for view in ("activations", "inspector", "selectivity", "lesions"):
        picture = scene.view(view, select="op:1.softmax/1")
        assert "unit:" not in str(picture.provenance.selection)
    cut = scene.edit("op:1.softmax/1", lesion=True)
    assert not torch.allclose(cut.scores(), scene.scores())
    scan = diorama.scan(model, x, layers=["op:attn.1.softmax"])
    with Capture(model, ["op:attn.1.softmax"]) as look:
        look(x)
    highest = look["op:attn.1.softmax"].flatten(2).amax(2)
    assert torch.allclose(torch.as_tensor(scan["op:attn.1.softmax"].top.values[:, 0]).float(), highest.amax(0), atol=1e-6)
    assert scene.direction("way", a="class:0", b="class:1", layer="op:attn.1.softmax").vector.shape == (2,)
    with pytest.raises(UsageError, match="2 ops end in 'softmax': op:attn.0.softmax, op:attn.1.softmax"):
        scene.view("inspector", select="op:softmax/1")
    twice = nn.Sequential(nn.Sequential(_Twice()))
    with pytest.raises(UsageError, match="2 ops end in 'softmax': op:0.0.softmax, op:0.0.softmax#2"):
        diorama.Scene(twice, x).layers["op:softmax"]
    assert diorama.Scene(twice, x).layers["op:softmax#2"].name == "op:0.0.softmax#2"
    with pytest.raises(UsageError, match="op:attn.1.softmax has units 0 to 1, got 5|units 0 to 1"):
        scene.view("inspector", select="op:attn.1.softmax/5")
    blocks = scene.view("structure", open="all").body.blocks
    notes = {block.id: block.notes for block in blocks if block.notes}
    assert notes["op:attn.0.softmax"] == ("pattern",)
    assert notes["layer:attn.1"] == ("attention, 2 heads",)
    assert scene.view("structure", search="query:attn.1").body.blocks


def test_torchs_own_attention_is_marked_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of torch say themselves how many heads they have: structure marks the same blocks as where it searches for attention."""
    model = nn.Transformer(8, 2, 1, 2, 16, batch_first=True)
    network = nn.ModuleDict({"both": model, "own": nn.MultiheadAttention(8, 4, batch_first=True)})
    network.forward = lambda x: network["own"](*[network["both"](x, x)] * 3)[0][:, 0]  # type: ignore[method-assign]
    scene = diorama.Scene(network, torch.randn(4, 5, 8))
    quick = _attends(scene)
    assert sorted(note for notes in quick.values() for note in notes if "," in note) == ["attention, 2 heads"] * 5 + ["attention, 4 heads"]
    monkeypatch.setattr(structure, "KERNELS", ("none such", *structure.KERNELS))
    assert _attends(scene) == quick
