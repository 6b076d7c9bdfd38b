"""Residual streams, found in what a pass runs, and what follows them, run again."""

from __future__ import annotations

import pytest
import torch
from attentions import WRITTEN, attentive
from torch import Tensor, nn
from zoo import ZOO

from diorama.core.errors import NotApplicable
from diorama.model.capture import Capture
from diorama.model.points import points
from diorama.model.stream import Stream, stream
from diorama.model.tail import Tail

STREAMS = {
    "encoder_late": ["the input", *(f"body.layers.{k}.{part}" for k in (0, 1) for part in ("self_attn", "linear2"))],
    "custom_attention": ["embedding", "blocks.0.proj", "blocks.1.proj"],
    "residual": ["stem", "layer1.0.bn2", "layer1.1.bn2"],
}
"""By network of the zoo: what its stream holds, from the first place on: only tokens that are looked up are embedded."""


class _Rms(nn.Module):
    """A norm written by hand between a stream and an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.head = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h = h + torch.tanh(self.block(h))
        return self.head(h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6))


def _found(name: str) -> tuple[nn.Module, Tensor, Stream | None]:
    model, x = next(specimen for specimen in ZOO if specimen.name == name)()
    model.eval()
    return model, x, stream(points(model, x))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_found_however_it_is_written(name: str) -> None:
    """Sums before or behind norms and ReLUs, in place or not, in torch's own blocks or custom ones, are one stream."""
    _, _, found = _found(name)
    assert found is not None
    assert list(found.names) == STREAMS[name]
    # Behind torch's blocks lies a norm, behind those of a ResNet a ReLU.
    assert [one.bare for one in found.sums[1:]] == [name == "custom_attention"] * (len(found.sums) - 1)


@pytest.mark.parametrize("name", WRITTEN)
def test_sums_in_the_model_itself_are_named_by_what_is_added(name: str) -> None:
    """Where no module holds a block, its sums are told apart by the layers that add to them, and which of them attend."""
    found = stream(points(*attentive(WRITTEN[name])))
    assert found is not None
    assert found.names == ("embed", "attn.0", "mlp.0.2", "attn.1", "mlp.1.2")
    assert [bool(one.attention) for one in found.sums] == [True, False, True, False]


@pytest.mark.parametrize("name", ["lstm", "functional", "reused", "double", "conv1d"])
def test_a_network_without_residual_sums_has_no_stream(name: str) -> None:
    """Sums of biases, of states or of two inputs are none."""
    assert _found(name)[2] is None


@pytest.mark.parametrize("name", STREAMS)
def test_the_tail_is_the_model_behind_the_point(name: str) -> None:
    """On what lay there the tail answers as the model; on another value as the model with that value put in; the model stays."""
    model, x, found = _found(name)
    assert found is not None
    tail = Tail(model, x, found.points[-1], lambda output: output)
    with torch.no_grad():
        assert torch.allclose(tail(tail.h), model(x), atol=1e-5)
        other = torch.randn(tail.h.shape, generator=torch.Generator().manual_seed(0))
        edit = {"key": found.points[-1], "patch": other}
        with Capture(model, edits=[edit]) as look:
            assert torch.allclose(tail(other), look(x), atol=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_linear_tail_holds_norms_fixed() -> None:
    """With the sizes of norms held fixed, a tail of a norm and a linear layer is linear about what lay there, also a norm by hand."""
    torch.manual_seed(0)
    for model in (_Rms(), nn.Sequential(nn.Linear(3, 6), *(block for block in (_Sum(), nn.LayerNorm(6), nn.Linear(6, 4))))):
        x = torch.randn(5, 3)
        found = stream(points(model.eval(), x))
        assert found is not None
        tail = Tail(model, x, found.points[-1], lambda output: output)
        h = tail.h.clone().requires_grad_()
        score = tail(h, linear=True)[:, 2].sum()
        slope = torch.autograd.grad(score, h)[0]
        with torch.no_grad():
            constant = tail(torch.zeros_like(h), linear=True)[:, 2]
            assert torch.allclose(tail(tail.h, linear=True), model(x), atol=1e-5)
            assert torch.allclose((slope * tail.h).sum(1) + constant, model(x)[:, 2], atol=1e-5)
            assert torch.allclose(tail(2 * tail.h, linear=True)[:, 2], 2 * model(x)[:, 2] - constant, atol=1e-5)


class _Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def test_a_tail_leads_to_the_answer() -> None:
    """A point from which the answer does not come is refused; random numbers beside it stay those of the pass."""

    class Draws(_Rms):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.randn(len(x), 4)

    class Rest(_Rms):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            return self.head(self.first(x))

    x = torch.randn(5, 3)
    tails = []
    for model in (Rest().eval(), Draws().eval()):
        found = stream(points(model, x))
        assert found is not None
        tails.append(found.points[-1])
    with pytest.raises(NotApplicable, match="does not come from"):
        Tail(Rest().eval(), x, tails[0], lambda output: output)
    tail = Tail(Draws().eval(), x, tails[1], lambda output: output)
    with torch.no_grad():
        assert torch.allclose(tail(tail.h), tail.scores, atol=1e-5)


class _Blocks(nn.Module):
    """Blocks of two layers, whose answers go into the stream in one of several ways."""

    def __init__(self, *ways: str) -> None:
        super().__init__()
        self.ways, self.first, self.head = ways, nn.Linear(3, 6), nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.ones(6))
        self.a, self.b = (nn.ModuleList(nn.Linear(6, 6) for _ in ways) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.first(x)
        for way, a, b in zip(self.ways, self.a, self.b, strict=True):
            if way == "parallel":
                h = h + a(h) + b(torch.tanh(h))
            elif way == "together":
                h = (a(h) + b(torch.tanh(h))) + h
            elif way == "folded":
                rows = h + a(h)
                rows = rows.reshape(-1, 6)
                h = (rows + b(rows)).reshape(h.shape)
            elif way == "scaled":
                h = h * 0.5 + a(h) + self.scale
                h = h - b(h.tanh())
            elif way == "written":
                kept = h.clone()
                kept += a(h) * self.scale
                h = torch.stack([kept, b(kept)]).sum(0)
            else:
                h = torch.lerp(h, b(a(h).tanh()), 0.5)
        found: Tensor = self.head(h)
        return found


@pytest.mark.parametrize("way", ["parallel", "together", "folded", "scaled", "written"])
def test_sums_are_followed_however_a_block_adds(way: str) -> None:
    """Layers in parallel, summed before, from a scaled stream, of folded positions, into a copy, subtracted or stacked: each is a sum, and
    the first row the embedding."""
    found = stream(points(_Blocks(way, way).eval(), torch.randn(5, 3, 3)))
    assert found is not None
    assert found.layers == ("first", "a.0", "b.0", "a.1", "b.1")
    assert found.names == (("first", "a.0 and b.0", "a.1 and b.1") if way == "together" else found.layers)
    assert (found.late, found.further, all(one.bare for one in found.sums)) == (False, "", way != "scaled")


def test_a_stream_that_is_cut_short_says_so() -> None:
    """What lies before the first sum is no embedding where layers have added there, and layers that add behind the last are named."""
    late = stream(points(_Blocks("other", "parallel").eval(), torch.randn(5, 3)))
    early = stream(points(_Blocks("parallel", "other").eval(), torch.randn(5, 3)))
    assert late is not None
    assert early is not None
    assert (late.names, late.further) == (("all before a.1", "a.1", "b.1"), "")
    assert (early.names, early.further) == (("first", "a.0", "b.0"), "the model")


class _Unnamed(nn.Module):
    """Sums in the model itself of what its own code made: of one layer and a scale, of weights alone, of many layers, of a gate and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 6), nn.Linear(6, 4)
        self.a, self.q, self.k, self.v, self.gate, self.way = (nn.Linear(6, 6) for _ in range(6))
        self.scale, self.weight = nn.Parameter(torch.ones(6)), nn.Parameter(torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h = h + self.scale * self.a(h)
        h = h + (h.tanh() @ self.weight + self.scale)
        h = h + (self.q(h) @ self.k(h).transpose(-1, -2)).softmax(-1) @ self.v(h)
        h = h + self.gate(h).sigmoid() * self.way(h)
        found: Tensor = self.head(h)
        return found


def test_what_the_model_itself_adds_is_called_by_what_made_it() -> None:
    """No sum is called by the model that it lies in: the layers that it was made of, or the op, tell it from the others."""
    found = stream(points(_Unnamed().eval(), torch.randn(5, 4, 3)))
    assert found is not None
    assert found.names == ("first", "a", "matmul", "matmul#3", "gate and way")
